"""Arithmetic of integers that an engine lacks or does in another way. Imports TensorFlow.

TFLite has most arithmetic for 32-bit integers alone: narrower ones are computed in these and cut to their width, which
is what wrapping around means. ONNX divides integers towards zero, and TensorFlow towards −∞.

No integer of its width holds the smallest one by −1: TensorFlow wraps around, and processors stop the process, which
engines do not prevent (`python -m simulators.fatal_values`). Division by 0 is an error in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rule, Rules, Value, first

_NARROW = (tf.int8, tf.uint8, tf.int16, tf.uint16)
_ARITHMETIC = (
    "Abs", "Add", "AddV2", "BiasAdd", "Equal", "FloorDiv", "FloorMod", "Greater", "GreaterEqual", "Less", "LessEqual",
    "Max", "Maximum", "Min", "Minimum", "Mul", "Neg", "NotEqual", "Prod", "Sign", "Square", "SquaredDifference", "Sub",
    "Sum",
)  # fmt: skip
_PREFERRED = {"BiasAdd": "AddV2"}
"""What an operation becomes: BiasAdd has no kernel for integers."""


def _product(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Products of 8-bit integers, as Keras' quantized layers use them, in floating point.

    A float holds each product of two such integers. It also holds their sums below 2²⁴, that is, up to 1,040 of the
    largest products. Above that it rounds; but the source rounds there too, since it divides the sum by a float next.
    """
    if any(tensor.dtype not in (tf.int8, tf.uint8) for tensor in operation.inputs):
        return None
    a, b = (tf.cast(value, tf.float32) for value in inputs)
    found = tf.matmul(a, b, adjoint_a=operation.get_attr("adj_x"), adjoint_b=operation.get_attr("adj_y"))
    return [tf.cast(found, operation.outputs[0].dtype)]


def _wider(kind: str) -> Rule:
    """Compute with narrow integers as with those of 32 bits."""

    def write(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        dtype = operation.inputs[0].dtype
        if dtype not in _NARROW:
            return None
        wide = [tf.cast(value, tf.int32) if value.dtype == dtype else value for value in inputs]
        attributes = {name: value for name, value in operation.node_def.attr.items() if name == "keep_dims"}
        out = operation.outputs[0].dtype
        made = tf.compat.v1.get_default_graph().create_op(
            _PREFERRED.get(kind, kind), wide, [tf.int32 if out == dtype else out], attrs=attributes,
            compute_device=False,
        )  # fmt: skip
        (found,) = made.outputs
        return [tf.cast(found, dtype) if out == dtype else found]

    return write


def _bias(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    if operation.inputs[0].dtype.is_floating or operation.get_attr("data_format") != b"NHWC":
        return None
    return _wider("BiasAdd")(operation, inputs, copy) or [tf.raw_ops.AddV2(x=inputs[0], y=inputs[1])]


def _of_64(write: Callable[[Any], Any]) -> Rule:
    """Write a function of one tensor for 64-bit integers, and others as narrow ones."""

    def rule(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
        if operation.inputs[0].dtype == tf.int64:
            return [write(inputs[0])]
        return _wider(operation.type)(operation, inputs, copy)

    return rule


def _place(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """The first place of the largest, or smallest, of integers: where it is equal to that."""
    x, axis = inputs
    if not (x.dtype.is_integer or x.dtype == tf.bool) or x.dtype in (tf.int32, tf.int8, tf.uint8):
        return None
    x = tf.cast(x, tf.int32) if x.dtype == tf.bool else x
    reduce = tf.reduce_max if operation.type == "ArgMax" else tf.reduce_min
    chosen = tf.cast(tf.equal(x, reduce(x, axis, keepdims=True)), tf.int32)
    return [tf.raw_ops.ArgMax(input=chosen, dimension=axis, output_type=operation.outputs[0].dtype)]


def _sign_of_64(x: Any) -> Any:
    return tf.cast(x > 0, tf.int64) - tf.cast(x < 0, tf.int64)


def _divisible(dividend: Any, divisor: Any) -> tuple[Any, Any]:
    """Return two integers of the same quotient, of which the second is never −1: a ÷ −1 is −a ÷ 1."""
    known = tf.get_static_value(divisor)
    if divisor.dtype.is_unsigned or (known is not None and not np.any(known == -1)):
        return dividend, divisor
    turned = tf.equal(divisor, -1)
    return tf.where(turned, -dividend, dividend), tf.where(turned, tf.ones_like(divisor), divisor)


def _division(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """Divide integers of 32 and 64 bits."""
    return copy(_divisible(*inputs)) if operation.inputs[0].dtype in (tf.int32, tf.int64) else None


def _remainder(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """The remainder of −1 is that of 1."""
    dividend, divisor = inputs
    if operation.inputs[0].dtype not in (tf.int32, tf.int64):
        return None
    return copy([dividend, _divisible(dividend, divisor)[1]])


def _truncated_remainder(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """What a quotient leaves: LiteRT has no such remainder, and ONNX Runtime computes it in doubles of 53 bits."""
    if operation.inputs[0].dtype not in (tf.int32, tf.int64):
        return None
    dividend, divisor = _divisible(*inputs)
    return [inputs[0] - tf.raw_ops.TruncateDiv(x=dividend, y=divisor) * inputs[1]]


def _floor_division(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """Take 1 from a quotient whose remainder has another sign than the divisor, whichever way the engine rounds."""
    if not operation.inputs[0].dtype.is_integer:
        return None
    (a, b), quotient = inputs, copy(_divisible(*inputs))[0]
    return [quotient - tf.cast(_passed(a - quotient * b, b), quotient.dtype)]


def _floor_remainder(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    if not operation.inputs[0].dtype.is_integer:
        return _float_remainder(operation, inputs, _copy)
    a, b = inputs
    dividend, divisor = _divisible(a, b)
    rest = a - tf.raw_ops.FloorDiv(x=dividend, y=divisor) * b
    return [rest + tf.cast(_passed(rest, b), rest.dtype) * b]


def _float_remainder(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """C's remainder, which is exact, and the divisor added where it has another sign."""
    a, b = inputs
    rest = tf.raw_ops.TruncateMod(x=a, y=b)
    return [tf.where(_passed(rest, b), rest + b, rest)]


def _passed(rest: Any, divisor: Any) -> Any:
    zero = tf.zeros((), rest.dtype)
    return tf.logical_and(tf.not_equal(rest, zero), tf.not_equal(rest < zero, divisor < zero))


def _complement(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """−1 − x, which of unsigned integers is the largest less x."""
    dtype = operation.inputs[0].dtype
    wide = tf.cast(inputs[0], tf.int32) if dtype in _NARROW else inputs[0]
    top = dtype.max if dtype.is_unsigned else -1
    return [tf.cast(tf.constant(top, wide.dtype) - wide, dtype)]


def _shifted_left(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Multiply by 2ⁿ, for a constant n."""
    x, places = inputs
    count = tf.get_static_value(places)
    if count is None or np.min(count) < 0:
        return None
    wide = tf.cast(x, tf.int32) if x.dtype in _NARROW else x
    factor = np.where(count < wide.dtype.size * 8, np.left_shift(np.int64(1), np.minimum(count, 63)), 0)
    return [tf.cast(wide * tf.constant(factor.astype(wide.dtype.as_numpy_dtype)), x.dtype)]


def _shifted_right(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """⌊x ÷ 2ⁿ⌋, for a constant n: by steps, of which none rounds towards zero."""
    x, places = inputs
    count = tf.get_static_value(places)
    if count is None or np.min(count) < 0 or np.max(count) > 62:
        return None
    factor = tf.constant(np.left_shift(np.int64(1), count.astype(np.int64)))
    wide = tf.cast(x, tf.int64)
    quotient = tf.raw_ops.FloorDiv(x=wide, y=factor)
    quotient -= tf.cast(_passed(wide - quotient * factor, factor), tf.int64)
    return [tf.cast(quotient, operation.outputs[0].dtype)]


def _sum(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
    """Add integers in halves: ONNX Runtime adds them as doubles, which hold 53 bits and do not wrap around."""
    x, axes = inputs
    if x.dtype == tf.int32:
        found = tf.reduce_sum(tf.cast(x, tf.int64), axes, keepdims=operation.get_attr("keep_dims"))
        return [tf.cast(found, tf.int32)]
    if x.dtype != tf.int64:
        return None
    half = tf.constant(2**32, tf.int64)
    high = tf.raw_ops.FloorDiv(x=x, y=half)
    return [copy([high, axes])[0] * half + copy([x - high * half, axes])[0]]


def _prod(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Multiply the halves of an axis until one is left, for the same reason."""
    x, axes = inputs[0], tf.get_static_value(inputs[1])
    if not x.dtype.is_integer or axes is None or x.shape.rank is None:
        return None
    axes = sorted({int(axis) % x.shape.rank for axis in np.ravel(axes)})
    if any(x.shape[axis] is None for axis in axes):
        return None
    for axis in axes:
        while (size := int(x.shape[axis])) > 1:
            first, second, *rest = tf.split(x, [size // 2, size // 2] + [1] * (size % 2), axis)
            x = tf.concat([first * second, *rest], axis)
    return [x if operation.get_attr("keep_dims") else tf.squeeze(x, axes)]


_NARROWED: Rules = {kind: _wider(kind) for kind in _ARITHMETIC}
TFLITE: Rules = {
    **_NARROWED,
    "Abs": _of_64(lambda x: tf.maximum(x, -x)),
    "ArgMax": _place,
    "ArgMin": _place,
    "BatchMatMulV3": _product,
    "BiasAdd": _bias,
    "Div": _division,
    "FloorDiv": first(_wider("FloorDiv"), _division),
    "FloorMod": first(_wider("FloorMod"), _remainder),
    "Invert": _complement,
    "LeftShift": _shifted_left,
    "Sign": _of_64(_sign_of_64),
    "TruncateDiv": _division,
    "TruncateMod": _truncated_remainder,
}
ONNX: Rules = {
    "ArgMax": _place,
    "ArgMin": _place,
    "Div": _division,
    "FloorDiv": _floor_division,
    "FloorMod": _floor_remainder,
    "Invert": _complement,
    "LeftShift": _shifted_left,
    "Prod": _prod,
    "RightShift": _shifted_right,
    "Sum": _sum,
    "TruncateDiv": _division,
    "TruncateMod": _truncated_remainder,
    **{kind: _wider(kind) for kind in ("Maximum", "Minimum")},
}
