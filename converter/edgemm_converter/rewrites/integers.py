"""Products of 8-bit integers, as Keras' quantized layers use them, rewritten in floating point.

A float holds each product of two such integers. It also holds their sums below 2²⁴, that is, up to 1,040 of the largest
products. Above that it rounds; but the source rounds there too, since it divides the sum by a float next. Imports
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rules, Value


def _product(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    if any(tensor.dtype not in (tf.int8, tf.uint8) for tensor in operation.inputs):
        return None
    a, b = (tf.cast(value, tf.float32) for value in inputs)
    found = tf.matmul(a, b, adjoint_a=operation.get_attr("adj_x"), adjoint_b=operation.get_attr("adj_y"))
    return [tf.cast(found, operation.outputs[0].dtype)]


RULES: Rules = {"BatchMatMulV3": _product}
