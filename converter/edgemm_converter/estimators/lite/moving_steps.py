"""The operations of ONNX that move values and change none, in TFLite, for a batch of one row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite.composites import chosen, gathered
from edgemm_converter.estimators.lite.flat_graph import FlatGraph, Value
from edgemm_converter.estimators.lite.step import Given, GraphStep, Handler, Texts


def _same(_graph: FlatGraph, _step: GraphStep, given: Given) -> Any:
    return given[0]


def _concat(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    axis = step.get("axis") % len(step.shapes[0])
    if len({one.dtype for one in given}) > 1 or given[0].dtype == "bool":
        raise step.refused(f"of {given[0].dtype}")
    return graph.add("CONCATENATION", list(given), shape=step.shapes[0], axis=axis)


def gather(graph: FlatGraph, step: GraphStep, given: Given) -> Any:
    """Add a look-up along an axis, in a table of numbers or of texts."""
    table, places, axis = given[0], given[1], step.get("axis", 0)
    if isinstance(table, Texts):
        if table.places.constant is None:
            raise step.refused("of computed texts")
        return Texts(table.table, gathered(graph, table.places, places, axis))
    if places.constant is not None:
        places = graph.constant((places.constant % table.shape[axis]).astype(np.int32))
    return gathered(graph, table, places, axis)


def _transpose(graph: FlatGraph, step: GraphStep, given: Given) -> Any:
    if isinstance(given[0], Texts) or step.get("perm") is None:
        raise step.refused("of texts, or of all axes")
    order = graph.constant(np.array(step.get("perm"), np.int32))
    return graph.add("TRANSPOSE", [given[0], order], shape=step.shapes[0])


def _slice(graph: FlatGraph, step: GraphStep, given: Given) -> Any:
    """Return a part of a value: a look-up of the places along each axis."""
    bounds = [one.constant for one in given[1:] if one is not None]
    if len(bounds) != len(given) - 1 or any(one is None for one in bounds) or isinstance(given[0], Texts):
        raise step.refused("of computed places")
    starts, ends = (one.tolist() for one in bounds[:2])
    axes = bounds[2].tolist() if len(bounds) > 2 else range(len(starts))
    steps = bounds[3].tolist() if len(bounds) > 3 else [1] * len(starts)
    value: Value = given[0]
    for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
        places = np.arange(value.shape[axis], dtype=np.int32)[slice(start, end, by)]
        value = gathered(graph, value, graph.constant(places), axis)
    return value


def _where(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    if any(isinstance(one, Texts) for one in given):
        raise step.refused("of texts")
    return chosen(graph, *given)


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), _same),
    "Concat": _concat,
    "Gather": gather,
    "Transpose": _transpose,
    "Slice": _slice,
    "Where": _where,
}
"""By the operation of the domain of ONNX itself."""
