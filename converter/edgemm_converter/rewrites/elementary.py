"""Elementary functions that an engine lacks or gets wrong at some numbers, written in those that it computes well.

Each keeps the digits of a small result, and overflows no sooner than the function itself. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rule, Rules, Value

_LN_2 = float(np.log(2))
_TINY = float(np.finfo(np.float32).tiny)
_LARGE = 2.0**12
"""From here on, x² + 1 and x² are one float."""


def of_float(function: Callable[[Any], Any]) -> Rule:
    """Return the rule that computes a function of one tensor by another, for float32 alone."""

    def write(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        return [function(inputs[0])] if operation.inputs[0].dtype == tf.float32 else None

    return write


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Return a polynomial by Horner's rule; its coefficients stand from the highest power down."""
    found = tf.fill(tf.shape(x), np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        found = found * x + np.float32(coefficient)
    return found


def log1p(x: Any) -> Any:
    """2 · artanh(x ÷ (x + 2)) where −0.3 ≤ x ≤ 1/2, and else log(1 + x), where the sum loses nothing that counts."""
    small = tf.clip_by_value(x, -0.3, 0.5)
    return tf.where(tf.equal(x, small), _twice_artanh(small / (small + 2.0), powers=6), tf.math.log(x + 1.0))


def _twice_artanh(s: Any, *, powers: int) -> Any:
    """The series 2s · (1 + s²/3 + s⁴/5 + …): of 6 powers below 0.2, and of 8 below 1/3, its rest is below 2⁻²⁸."""
    return 2.0 * s * polynomial(s * s, [1.0 / (2 * power + 1) for power in reversed(range(powers))])


def expm1(x: Any) -> Any:
    """The Taylor series to the ninth power where |x| ≤ 1/2, with an error below 2⁻³⁰ of the value; else e^x − 1."""
    small = tf.clip_by_value(x, -0.5, 0.5)
    factors = [1.0]
    for power in range(2, 10):
        factors.insert(0, factors[0] / power)
    return tf.where(tf.equal(x, small), small * polynomial(small, factors), tf.exp(x) - 1.0)


def softplus(x: Any) -> Any:
    """max(x, 0) + log(1 + e^−|x|), of which nothing overflows; the logarithm is 2 · artanh(z ÷ (z + 2)) of z ≤ 1."""
    far = tf.exp(-tf.abs(x))
    return tf.nn.relu(x) + _twice_artanh(far / (far + 2.0), powers=8)


def _sinh(x: Any) -> Any:
    """(e + e ÷ (e + 1)) ÷ 2 of e = e^|x| − 1, and half of the square of e^(|x| ÷ 2) where e^|x| might overflow."""
    size = tf.abs(x)
    e = expm1(tf.minimum(size, 20.0))
    half = tf.exp(0.5 * size)
    return tf.sign(x) * tf.where(size < 20.0, 0.5 * (e + e / (e + 1.0)), (0.5 * half) * half)


def _cosh(x: Any) -> Any:
    half = tf.exp(0.5 * tf.abs(x))
    return (0.5 * half) * half + (0.5 / half) / half


def _asinh(x: Any) -> Any:
    """log(1 + |x| + x² ÷ (1 + √(x² + 1))), and log |x| + log 2 where x² is all of x² + 1."""
    size = tf.abs(x)
    near = tf.minimum(size, _LARGE)
    square = near * near
    inside = log1p(near + square / (1.0 + tf.sqrt(square + 1.0)))
    return tf.sign(x) * tf.where(size < _LARGE, inside, tf.math.log(tf.maximum(size, 1.0)) + _LN_2)


def _acosh(x: Any) -> Any:
    """log(1 + t + √(2t + t²)) of t = x − 1, and log x + log 2 where x² − 1 is x²."""
    above = tf.minimum(x, _LARGE) - 1.0
    inside = log1p(above + tf.sqrt(above) * tf.sqrt(above + 2.0))
    return tf.where(x < _LARGE, inside, tf.math.log(x) + _LN_2)


def _atan(x: Any) -> Any:
    return tf.atan2(x, tf.ones_like(x))


def _asin(x: Any) -> Any:
    return tf.atan2(x, tf.sqrt((1.0 - x) * (1.0 + x)))


def _acos(x: Any) -> Any:
    return tf.atan2(tf.sqrt((1.0 - x) * (1.0 + x)), x)


def _rsqrt(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """1 ÷ x of 0, which is infinite, where LiteRT's reciprocal root is NaN; a constant that keeps x above 0 is kept."""
    (x,), below = inputs, operation.inputs[0].op
    if operation.inputs[0].dtype != tf.float32 or (below.type in ("Add", "AddV2", "Maximum") and _is_bounded(below)):
        return None
    if all(taker.type == "Minimum" and _is_bounded(taker) for taker in operation.outputs[0].consumers()):
        return copy([tf.maximum(x, _TINY)])  # as in Keras' normalize, which bounds the root
    return [tf.where(tf.equal(x, 0.0), 1.0 / x, copy(inputs)[0])]


def _is_bounded(operation: Any) -> bool:
    constants = (tf.get_static_value(tensor) for tensor in operation.inputs)
    return any(value is not None and bool(np.all(value > 0)) for value in constants)


def _unit(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """Keep zeros in x · 1 ÷ √max(Σx², ε): TensorFlow's converter makes one operation of it that leaves ε out.

    What that operation answers is NaN or infinite where the sum is 0, and else at most 1.
    """
    root = next((t.op for t in operation.inputs if t.op.type == "Rsqrt"), None)
    below = root.inputs[0].op if root is not None else None
    if below is None or below.type != "Maximum" or not _is_bounded(below):
        return None
    if not any(t.op.type == "Sum" and t.op.inputs[0].op.type == "Square" for t in below.inputs):
        return None
    (found,) = copy(inputs)
    return [tf.where(tf.abs(found) <= 2.0, found, tf.zeros_like(found))]


def _floor_division(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """The floor of the quotient: LiteRT's own operation fails where a divisor is 0."""
    a, b = inputs
    return [tf.floor(a / b)] if operation.inputs[0].dtype == tf.float32 else None


def _safe_division(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    a, b = inputs
    return [tf.where(tf.abs(b) < _TINY, 0.0, a / b)] if operation.inputs[0].dtype == tf.float32 else None


def _is_infinite(x: Any) -> Any:
    """More than the largest number: TensorFlow's converter takes that number for an infinite constant."""
    return tf.abs(x) > tf.float32.max


def _atan2(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """Tell −0.0 from 0.0, which tf2onnx's form of it does not."""
    if operation.inputs[0].dtype != tf.float32:
        return None
    y, x = inputs
    below = tf.logical_and(tf.equal(y, 0.0), 1.0 / y < 0.0)
    left = tf.logical_or(x < 0.0, tf.logical_and(tf.equal(x, 0.0), 1.0 / x < 0.0))
    angle = tf.where(tf.logical_and(tf.equal(y, 0.0), left), np.float32(np.pi), tf.abs(copy(inputs)[0]))
    return [tf.where(tf.logical_or(y < 0.0, below), -angle, angle)]


def _is_zero(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Take denormal numbers for 0 where a number is compared with 0, as TensorFlow does.

    Engines tell them apart, and then divide by them as by 0: a choice that guards a division would not.
    """
    if operation.inputs[0].dtype != tf.float32:
        return None
    constants = [tf.get_static_value(value) for value in inputs]
    x = next((inputs[1 - i] for i, c in enumerate(constants) if c is not None and not np.any(c)), None)
    if x is None:
        return None
    size = tf.abs(x)
    return [size < _TINY if operation.type == "Equal" else size >= _TINY]


_EVERYWHERE: Rules = {
    "Equal": _is_zero,
    "NotEqual": _is_zero,
    "Expm1": of_float(expm1),
    "Log1p": of_float(log1p),
    "Softplus": of_float(softplus),
}
TFLITE: Rules = {
    **_EVERYWHERE,
    "Acos": of_float(_acos),
    "Acosh": of_float(_acosh),
    "Asin": of_float(_asin),
    "Asinh": of_float(_asinh),
    "Atan": of_float(_atan),
    "Atanh": of_float(lambda x: 0.5 * (log1p(x) - log1p(-x))),
    "Cosh": of_float(_cosh),
    "DivNoNan": _safe_division,
    "FloorDiv": _floor_division,
    "IsInf": of_float(_is_infinite),
    "Mul": _unit,
    "Rsqrt": _rsqrt,
    "Sinh": of_float(_sinh),
    "Tan": of_float(lambda x: tf.sin(x) / tf.cos(x)),
}
ONNX: Rules = {**_EVERYWHERE, "Atan2": _atan2}
