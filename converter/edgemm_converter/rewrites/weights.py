"""Large weights, left out of a graph while it is converted: tf2onnx copies each constant some sixty times.

Imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgemm_converter.arrays import Array

_LEAST_BYTES = 2**20
_TAKERS = {"Conv2D": 1, "MatMul": 1}
"""Operations that ask nothing of their weights but a shape, and which input these are."""


def large(constant: Any) -> dict[str, Array]:
    """Return the values of the large weights of a frozen concrete function, by the name of their operation."""
    takers: dict[Any, list[Any]] = {}
    for operation in constant.graph.get_operations():
        for position, tensor in enumerate(operation.inputs):
            takers.setdefault(tensor.ref(), []).append((operation, position))
    kept = {t.ref() for t in constant.outputs}
    return {
        operation.name: tf.make_ndarray(operation.get_attr("value"))
        for operation in constant.graph.get_operations()
        if operation.type == "Const" and _is_large(operation) and _is_weight(operation.outputs[0], takers, kept)
    }


def _is_large(operation: Any) -> bool:
    tensor = operation.outputs[0]
    return bool(tensor.dtype == tf.float32 and tensor.shape.num_elements() * tensor.dtype.size >= _LEAST_BYTES)


def _is_weight(tensor: Any, takers: dict[Any, list[Any]], kept: set[Any]) -> bool:
    """Tell whether a constant is nothing but the weights of operations that let it be any tensor."""
    return tensor.ref() not in kept and all(
        _is_weight(operation.outputs[0], takers, kept)
        if operation.type == "Identity"
        else _TAKERS.get(operation.type) == position
        for operation, position in takers.get(tensor.ref(), ())
    )
