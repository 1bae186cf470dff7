"""Fourier transforms, rewritten as products with the matrix of the discrete transform. Imports TensorFlow.

The matrix is W[j, k] = e^(−2πi·jk/n). The product costs n operations per value, and a fast transform costs log n. At
the lengths of audio frames (hundreds), an engine's matrix product gains more than that costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites.values import Copy, Pair, Rules, Value


def _transform(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """FFT, FFT2D, FFT3D and their inverses."""
    x, shape = inputs[0], operation.inputs[0].shape
    axes = _axes(operation.type)
    if not isinstance(x, Pair) or not _known(shape, axes=axes):
        return None
    for axis in range(-axes, 0):
        x = _along(x, axis, int(shape[axis]), inverse=operation.type.startswith("I"))
    return [x]


def _of_real(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """RFFT, RFFT2D and RFFT3D: of n values, n/2 + 1 frequencies."""
    x, shape, axes = inputs[0], operation.inputs[0].shape, _axes(operation.type)
    lengths = tf.get_static_value(operation.inputs[1])
    if lengths is None or not _known(shape, axes=axes):
        return None
    x, rows = _fitted(x, shape, lengths)
    cos, sin = _matrix(int(lengths[-1]))
    kept = int(lengths[-1]) // 2 + 1
    found = Pair(tf.matmul(x, cos[:rows, :kept]), -tf.matmul(x, sin[:rows, :kept]))
    for position, axis in enumerate(range(-axes, -1)):
        found = _along(found, axis, int(lengths[position]), inverse=False)
    return [found]


def _to_real(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """IRFFT, IRFFT2D and IRFFT3D: the frequencies that are left out are the conjugates of those there are."""
    x, shape, axes = inputs[0], operation.inputs[0].shape, _axes(operation.type)
    lengths = tf.get_static_value(operation.inputs[1])
    if not isinstance(x, Pair) or lengths is None or not _known(shape, axes=axes):
        return None
    n = int(lengths[-1])
    kept = min(n // 2 + 1, int(shape[-1]))
    sides = [(int(shape[axis]), int(lengths[position])) for position, axis in enumerate(range(-axes, -1))]
    if any(there != wanted for there, wanted in sides):
        return None
    for position, axis in enumerate(range(-axes, -1)):
        x = _along(x, axis, int(lengths[position]), inverse=True)
    cos, sin = (part[:kept] * _twice(n)[:kept, np.newaxis] / np.float32(n) for part in _matrix(n))
    return [tf.matmul(x.real[..., :kept], cos) - tf.matmul(x.imag[..., :kept], sin)]


def _twice(n: int) -> Array:
    """Return how often each frequency counts: once where it is its own conjugate."""
    counts = np.full(n // 2 + 1, 2.0, np.float32)
    counts[0] = 1.0
    if n % 2 == 0:
        counts[-1] = 1.0
    return counts


def _along(x: Pair, axis: int, n: int, *, inverse: bool) -> Pair:
    """Transform a pair along one axis, counted from the end."""
    cos, sin = _matrix(n)
    if inverse:
        cos, sin = cos / np.float32(n), -sin / np.float32(n)
    real, imag = _last(x.real, axis), _last(x.imag, axis)
    found = Pair(tf.matmul(real, cos) + tf.matmul(imag, sin), tf.matmul(imag, cos) - tf.matmul(real, sin))
    return Pair(_last(found.real, axis), _last(found.imag, axis))


def _last(x: Any, axis: int) -> Any:
    """Exchange an axis with the last one."""
    if axis == -1:
        return x
    order = list(range(x.shape.rank))
    order[axis], order[-1] = order[-1], order[axis]
    return tf.transpose(x, order)


def _matrix(n: int) -> tuple[Array, Array]:
    """Return cos and sin of 2π·jk/n; the product is taken modulo n, so that the angle keeps its digits."""
    angle = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _fitted(x: Any, shape: Any, lengths: Array) -> tuple[Any, int]:
    """Cut or pad x to the lengths; zeros at the end of the last axis are left out, and the matrix's rows for them."""
    axes = len(lengths)
    there = [int(shape[axis]) for axis in range(-axes, 0)]
    cut = [min(have, int(wanted)) for have, wanted in zip(there, lengths, strict=True)]
    if cut != there:
        x = x[(..., *(slice(0, size) for size in cut))]
    missing = [int(wanted) - size for size, wanted in zip(cut, lengths, strict=True)]
    missing[-1] = 0
    if any(missing):
        x = tf.pad(x, [[0, 0]] * (shape.rank - axes) + [[0, more] for more in missing])
    return x, cut[-1]


def _axes(kind: str) -> int:
    return int(kind[-2]) if kind.endswith("D") else 1


def _known(shape: Any, *, axes: int) -> bool:
    """Tell whether a matrix product works: a fixed size of each transformed axis, and an axis before the last."""
    return shape.rank is not None and shape.rank > 1 and all(shape[axis] is not None for axis in range(-axes, 0))


RULES: Rules = {
    **dict.fromkeys(("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D"), _transform),
    **dict.fromkeys(("RFFT", "RFFT2D", "RFFT3D"), _of_real),
    **dict.fromkeys(("IRFFT", "IRFFT2D", "IRFFT3D"), _to_real),
}
