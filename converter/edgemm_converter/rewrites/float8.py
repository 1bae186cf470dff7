"""Numbers of 8 bits in floating point, as Keras' float8 layers round to, rewritten as that rounding of a float32.

E4M3FN has 4 bits of exponent and 3 of mantissa, from 2⁻⁶ on, and 448 is its largest number (Micikevicius et al., "FP8
Formats for Deep Learning", 2022). Below 2⁻⁶ its steps are all 2⁻⁹. Imports TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rules, Value

_FLOAT8 = tf.dtypes.experimental.float8_e4m3fn
_MANTISSA_BITS, _LEAST_EXPONENT = 3, -6


def _cast(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    (value,), wanted = inputs, operation.outputs[0].dtype
    if operation.inputs[0].dtype == _FLOAT8:
        return [tf.cast(value, wanted)]
    if wanted != _FLOAT8 or not value.dtype.is_floating:
        return None
    value = tf.cast(value, tf.float32)
    least = tf.constant(2.0**_LEAST_EXPONENT)
    exponent = tf.floor(tf.math.log(tf.maximum(tf.abs(value), least)) * tf.constant(1 / math.log(2), tf.float32))
    step = tf.pow(tf.constant(2.0), exponent - _MANTISSA_BITS)
    return [tf.round(value / step) * step]


RULES: Rules = {"Cast": _cast}
