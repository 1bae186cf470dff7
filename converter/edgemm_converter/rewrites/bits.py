"""Operations on the bits of floating-point numbers, rewritten as arithmetic. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rule, Rules, Value

_SIGN = int(np.iinfo(np.int32).min)


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


TFLITE: Rules = {"BitwiseAnd": _sign_bit(_by_angle)}
ONNX: Rules = {"BitwiseAnd": _sign_bit(_by_reciprocal)}
