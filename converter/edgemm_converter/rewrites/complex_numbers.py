"""Complex numbers, rewritten as pairs of real numbers. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Pair, Rules, Value

_PARTWISE = (
    "Add", "AddV2", "BroadcastTo", "ConcatV2", "ExpandDims", "GatherV2", "Identity", "Neg", "Pack", "Pad", "Reshape",
    "ReverseV2", "Roll", "Slice", "Split", "SplitV", "Squeeze", "StridedSlice", "Sub", "Sum", "Tile", "Transpose",
    "Unpack", "ZerosLike",
)  # fmt: skip
"""What does to complex numbers what it does to their real and imaginary parts."""


def _partwise(_operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    if not any(isinstance(value, Pair) for value in inputs):
        return None
    real = copy([value.real if isinstance(value, Pair) else value for value in inputs])
    imag = copy([value.imag if isinstance(value, Pair) else value for value in inputs])
    return [Pair(*parts) for parts in zip(real, imag, strict=True)]


def _constant(operation: Any, _inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    if not operation.outputs[0].dtype.is_complex:
        return None
    values = tf.make_ndarray(operation.get_attr("value"))
    return [Pair(tf.constant(values.real), tf.constant(values.imag))]


def _cast(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    (value,), wanted = inputs, operation.outputs[0].dtype
    if isinstance(value, Pair):
        return [value if wanted.is_complex else tf.cast(value.real, wanted)]
    if not wanted.is_complex:
        return None
    real = tf.cast(value, wanted.real_dtype)
    return [Pair(real, tf.zeros_like(real))]


def _product(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    a, b = inputs
    if not isinstance(a, Pair) or not isinstance(b, Pair):
        return None
    return [Pair(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)]


def _square(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    return _product(operation, [inputs[0], inputs[0]], copy)


def _conjugate(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    (value,) = inputs
    return [Pair(value.real, -value.imag)] if isinstance(value, Pair) else None


def _exponential(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """e^(a + ib) = e^a · (cos b + i sin b)."""
    (value,) = inputs
    if not isinstance(value, Pair):
        return None
    size = tf.exp(value.real)
    return [Pair(size * tf.cos(value.imag), size * tf.sin(value.imag))]


def _divided(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    a, b = inputs
    if not isinstance(a, Pair) or not isinstance(b, Pair):
        return None
    square = b.real**2 + b.imag**2
    real, imag = a.real * b.real + a.imag * b.imag, a.imag * b.real - a.real * b.imag
    return [Pair(real / square, imag / square)]


RULES: Rules = {
    "Complex": lambda _operation, inputs, _copy: [Pair(*inputs)],
    "Real": lambda _operation, inputs, _copy: [inputs[0].real],
    "Imag": lambda _operation, inputs, _copy: [inputs[0].imag],
    "ComplexAbs": lambda _operation, inputs, _copy: [tf.sqrt(inputs[0].real ** 2 + inputs[0].imag ** 2)],
    "Angle": lambda _operation, inputs, _copy: [tf.atan2(inputs[0].imag, inputs[0].real)],
    "Cast": _cast,
    "Conj": _conjugate,
    "Const": _constant,
    "Exp": _exponential,
    "Mul": _product,
    "RealDiv": _divided,
    "Square": _square,
    **dict.fromkeys(_PARTWISE, _partwise),
}
