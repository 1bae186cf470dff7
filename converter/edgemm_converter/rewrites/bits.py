"""Work on the bits of floating-point numbers, as arithmetic. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rules, Value


def _sign_bit(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Write x's bits & the sign's bit, of which Keras' signbit, argmax and argmin are made, as a comparison.

    −0.0 is no smaller than 0, but its reciprocal is.
    """
    bits, mask = operation.inputs
    value = tf.get_static_value(mask)
    if bits.op.type != "Bitcast" or value is None or value.shape or int(value) != np.iinfo(np.int32).min:
        return None
    if bits.op.inputs[0].dtype != tf.float32 or inputs[0].dtype != tf.int32:
        return None
    x = inputs[0].op.inputs[0]
    negative = tf.logical_or(x < 0.0, tf.logical_and(tf.equal(x, 0.0), 1.0 / x < 0.0))
    return [tf.where(negative, tf.fill(tf.shape(x), np.int32(np.iinfo(np.int32).min)), tf.zeros_like(x, tf.int32))]


RULES: Rules = {"BitwiseAnd": _sign_bit}
