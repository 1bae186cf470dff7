"""The error function, its complement and its inverse, and the Bessel function I₀, by polynomials.

Imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.elementary import log1p, of_float, polynomial
from edgemm_converter.rewrites.values import Rules

_ERF_ABOVE = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04,
    -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_BELOW = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02,
)  # fmt: skip
_ERFC_NEAR = (
    2.326819970068386e-2, -1.387039388740657e-1, 3.687424674597105e-1, -5.824733027278666e-1, 6.210004621745983e-1,
    -4.944515323274145e-1, 3.404879937665872e-1, -2.741127028184656e-1, 5.638259427386472e-1,
)  # fmt: skip
_ERFC_FAR = (
    -1.047766399936249e1, 1.297719955372516e1, -7.495518717768503, 2.921019019210786, -1.015265279202700,
    4.218463358204948e-1, -2.820767439740514e-1, 5.641895067754075e-1,
)  # fmt: skip
_ERFINV_NEAR = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 2.1858087e-04, -1.25372503e-03, -4.17768164e-03,
    2.46640727e-01, 1.50140941,
)  # fmt: skip
_ERFINV_FAR = (
    -2.00214257e-04, 1.00950558e-04, 1.34934322e-03, -3.67342844e-03, 5.73950773e-03, -7.6224613e-03, 9.43887047e-03,
    1.00167406, 2.83297682,
)  # fmt: skip
_I0_NEAR = (
    6.04699500e-08, -2.67079385e-07, 1.11738754e-06, -4.41673836e-06, 1.64484481e-05, -5.75419501e-05, 1.88502885e-04,
    -5.76375575e-04, 1.63947562e-03, -4.32431000e-03, 1.05464604e-02, -2.37374148e-02, 4.93052842e-02,
    -9.49010970e-02, 1.71620902e-01, -3.04682672e-01, 3.38397637e-01,
)  # fmt: skip
_I0_FAR = (
    3.62667039e-07, 1.63913487e-06, 1.11121483e-05, 1.36156032e-04, 3.36055570e-03, 4.02176513e-01,
)  # fmt: skip
_ERF_IS_1 = 4.0


def _erf(x: Any) -> Any:
    """A quotient of polynomials in x², as in Eigen and XLA; beyond ±4 it is ±1."""
    x = tf.clip_by_value(x, -_ERF_IS_1, _ERF_IS_1)
    square = x * x
    return x * polynomial(square, _ERF_ABOVE) / polynomial(square, _ERF_BELOW)


def _erfc(x: Any) -> Any:
    """1 − erf(x) where |x| ≤ 1, and else e^(−x²) ÷ |x| by a polynomial in x⁻², as in Cephes (`ndtrf.c`) and XLA.

    The square is taken of the first bits of x, where it is exact, and the rest is (x − h) · (x + h).
    """
    size = tf.clip_by_value(tf.abs(x), 1.0, 20.0)
    inverse = 1.0 / size
    square = inverse * inverse
    factor = tf.where(size < 2.0, polynomial(square, _ERFC_NEAR), polynomial(square, _ERFC_FAR))
    first = tf.floor(size * 64.0) / 64.0
    tail = tf.exp(-first * first) * tf.exp((first - size) * (first + size)) * inverse * factor
    return tf.where(tf.abs(x) <= 1.0, 1.0 - _erf(x), tf.where(x < 0.0, 2.0 - tail, tail))


def _erfinv(x: Any) -> Any:
    """M. Giles, "Approximating the erfinv function" (2010), single precision; w is ∞ at ±1 and NaN beyond."""
    w = -(log1p(-x) + log1p(x))
    near = polynomial(tf.minimum(w, 5.0) - 2.5, _ERFINV_NEAR)
    far = polynomial(tf.sqrt(tf.clip_by_value(w, 5.0, 40.0)) - 3.0, _ERFINV_FAR)
    return x * tf.where(tf.equal(tf.abs(x), 1.0), w, tf.where(w < 5.0, near, far))


def _i0e(x: Any) -> Any:
    """e^−|x| · I₀(x): Chebyshev series of 16 powers to |x| = 8, and beyond of 5 powers in 8 ÷ |x|, fitted here.

    The division into two ranges is that of Cephes (`i0.c`).
    """
    size = tf.abs(x)
    y = tf.minimum(size, 8.0) * 0.5 - 2.0
    before, last = tf.zeros_like(x), tf.zeros_like(x)
    for coefficient in _I0_NEAR[:-1]:  # Clenshaw's recurrence, of 2t = y
        before, last = last, y * last - before + np.float32(coefficient)
    near = 0.5 * y * last - before + np.float32(_I0_NEAR[-1])
    inverse = 1.0 / tf.maximum(size, 8.0)
    far = tf.sqrt(inverse) * polynomial(16.0 * inverse - 1.0, _I0_FAR)
    return tf.where(size <= 8.0, near, far)


def _i0(x: Any) -> Any:
    return _i0e(x) * tf.exp(tf.abs(x))


def _inverse_normal(x: Any) -> Any:
    """√2 · erf⁻¹(2x − 1)."""
    return 2.0**0.5 * _erfinv(2.0 * x - 1.0)


_FUNCTIONS: Rules = {
    "Erfc": of_float(_erfc),
    "Erfinv": of_float(_erfinv),
    "Ndtri": of_float(_inverse_normal),
    "BesselI0": of_float(_i0),
    "BesselI0e": of_float(_i0e),
}
TFLITE: Rules = {**_FUNCTIONS, "Erf": of_float(_erf)}
ONNX: Rules = _FUNCTIONS
