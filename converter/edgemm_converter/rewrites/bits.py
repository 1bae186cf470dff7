"""Operations on the bits of numbers, rewritten as arithmetic. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rule, Rules, Value, first

_SIGN = int(np.iinfo(np.int32).min)
_HALF = 2**16
_NARROW = (tf.int8, tf.uint8, tf.int16, tf.uint16)


def _sign_bit(negative: Callable[[Any], Any]) -> Rule:
    """Write x's bits & the sign's bit, of which Keras' signbit, argmax and argmin are made, as a comparison."""

    def write(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        bits, mask = operation.inputs
        value = tf.get_static_value(mask)
        if bits.op.type != "Bitcast" or value is None or value.shape or int(value) != _SIGN:
            return None
        if bits.op.inputs[0].dtype != tf.float32 or inputs[0].dtype != tf.int32:
            return None
        x = inputs[0].op.inputs[0]
        return [tf.where(negative(x), tf.fill(tf.shape(x), np.int32(_SIGN)), tf.zeros_like(x, tf.int32))]

    return write


def _by_reciprocal(x: Any) -> Any:
    """−0.0 is no smaller than 0, but its reciprocal is."""
    return tf.logical_or(x < 0.0, tf.logical_and(tf.equal(x, 0.0), 1.0 / x < 0.0))


def _by_angle(x: Any) -> Any:
    """The angle of −0.0 is π; this stays float where a division would be made of integers, and fail on zero."""
    return tf.atan2(tf.zeros_like(x), x) > 1.0


def _carried(function: Callable[[Any, Any], Any]) -> Rule:
    """Write a function of two integers of 32 bits as one of their halves."""

    def write(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        dtype = operation.inputs[0].dtype
        if dtype not in (*_NARROW, tf.int32):
            return None
        a, b = (tf.cast(value, tf.int32) for value in inputs)
        high_a, high_b = (tf.bitwise.right_shift(value, tf.fill(tf.shape(value), 16)) for value in (a, b))
        low = function(a - high_a * _HALF, b - high_b * _HALF)
        return [tf.cast(function(high_a, high_b) * _HALF + low, dtype)]

    return write


def _and(a: Any, b: Any) -> Any:
    """(a + b − (a xor b)) ÷ 2, of 16 bits each."""
    twice = a + b - tf.bitwise.bitwise_xor(a, b)
    return tf.bitwise.right_shift(twice, tf.ones_like(twice))


def _or(a: Any, b: Any) -> Any:
    return a + b - _and(a, b)


def _xor(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    dtype = operation.inputs[0].dtype
    if dtype not in _NARROW:
        return None
    a, b = (tf.cast(value, tf.int32) for value in inputs)
    return [tf.cast(tf.bitwise.bitwise_xor(a, b), dtype)]


def _bit_by_bit(function: Callable[[Any, Any], Any]) -> Rule:
    """Write a function of the bits of two integers as one of 0 and 1, for each bit, and of two truths for the sign."""

    def write(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        dtype = operation.inputs[0].dtype
        if not dtype.is_integer or dtype == tf.uint64:
            return None
        count = 8 * dtype.size - (not dtype.is_unsigned)
        powers = tf.constant(np.left_shift(np.int64(1), np.arange(count, dtype=np.int64)))
        least = tf.constant(0 if dtype.is_unsigned else dtype.min, tf.int64)
        wide = [tf.cast(value, tf.int64) for value in inputs]
        signs = [tf.cast(value < 0, tf.int64) for value in wide]
        halves = [(value - sign * least)[..., tf.newaxis] // powers for value, sign in zip(wide, signs, strict=True)]
        bits = [half - 2 * (half // 2) for half in halves]
        found = tf.squeeze(tf.cumsum(function(*bits) * powers, axis=-1)[..., -1:], -1)
        return [tf.cast(found + function(*signs) * least, dtype)]

    return write


TFLITE: Rules = {
    "BitwiseAnd": first(_sign_bit(_by_angle), _carried(_and)),
    "BitwiseOr": _carried(_or),
    "BitwiseXor": _xor,
}
ONNX: Rules = {
    "BitwiseAnd": first(_sign_bit(_by_reciprocal), _bit_by_bit(lambda a, b: a * b)),
    "BitwiseOr": _bit_by_bit(tf.maximum),
    "BitwiseXor": _bit_by_bit(lambda a, b: tf.abs(a - b)),
}
