"""Large weights, found so that they can stay out of a graph while tf2onnx converts it.

tf2onnx copies each constant some sixty times. Imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites.frozen import READ, FrozenGraph, needed

_LEAST_BYTES = 2**20
_HOLDERS = ("Const", "Placeholder")
_TAKERS = {"Conv2D": 1, "MatMul": 1}
"""Operations that ask nothing of their weights but a shape, and which input these are."""


def large(frozen: FrozenGraph) -> dict[str, Array]:
    """Return the values of the large weights of a frozen graph, by the name of their operation."""
    operations = needed(frozen.outputs)
    takers: dict[Any, list[Any]] = {}
    for operation in operations:
        for position, tensor in enumerate(operation.inputs):
            takers.setdefault(tensor.ref(), []).append((operation, position))
    kept = {t.ref() for t in frozen.outputs}
    return {
        operation.name: array
        for operation in operations
        if operation.type in _HOLDERS
        and _is_weight(operation.outputs[0], takers, kept)
        and (array := _values(operation, frozen)) is not None
        and array.dtype == np.float32
        and array.nbytes >= _LEAST_BYTES
    }


def _values(operation: Any, frozen: FrozenGraph) -> Array | None:
    if operation.type != "Const":
        return frozen.values.get(operation.name)
    values: Array = tf.make_ndarray(operation.get_attr("value"))
    return values


def _is_weight(tensor: Any, takers: dict[Any, list[Any]], kept: set[Any]) -> bool:
    """Tell whether a constant is nothing but the weights of operations that let it be any tensor."""
    return tensor.ref() not in kept and all(
        _is_weight(operation.outputs[0], takers, kept)
        if operation.type in ("Identity", READ)
        else _TAKERS.get(operation.type) == position
        for operation, position in takers.get(tensor.ref(), ())
    )
