"""Small compositions of builtin operations, which the steps of ONNX are made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite.flat_graph import Array, FlatGraph, NoBuiltinsError, Shape, Value


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape of values of these shapes together."""
    return tuple(np.broadcast_shapes(*shapes))


def two(graph: FlatGraph, kind: str, left: Value, right: Value, *, dtype: Any = None) -> Value:
    """Add an operation on two values, of the shape of both together."""
    return graph.add(kind, [left, right], shape=broadcast(left.shape, right.shape), dtype=dtype)


def number(graph: FlatGraph, value: float, dtype: str = "float32") -> Value:
    """Return a constant of one number."""
    return graph.constant(np.array([value], dtype))


def chosen(graph: FlatGraph, condition: Value, yes: Value, no: Value) -> Value:
    """Add a choice by value between two; constants are spread out, so that the oldest kernel does."""
    shape = broadcast(condition.shape, yes.shape, no.shape)
    of = [graph.constant(np.broadcast_to(v.constant, shape)) if v.constant is not None else v for v in (yes, no)]
    alike = all(value.shape == shape for value in (condition, *of))
    return graph.add("SELECT" if alike else "SELECT_V2", [condition, *of], shape=shape, dtype=yes.dtype)


def reduced(graph: FlatGraph, kind: str, value: Value, axes: Sequence[int], *, keep: bool = True) -> Value:
    """Add a sum, mean or maximum along axes."""
    wanted = sorted(axis % len(value.shape) for axis in axes)
    shape = tuple(1 if i in wanted else n for i, n in enumerate(value.shape) if keep or i not in wanted)
    return graph.add(kind, [value, graph.constant(np.array(wanted, np.int32))], shape=shape, keepDims=keep)


def dense(graph: FlatGraph, rows: Value, weights: Array, bias: Array | None = None) -> Value:
    """Add rows [1, in] @ weights [in, out], and a bias [out] where there is one."""
    table = graph.constant(np.ascontiguousarray(weights.T.astype(np.float32)))
    given = [graph.shaped(rows, (1, weights.shape[0])), table]
    if bias is not None:
        given.append(graph.constant(np.ravel(bias).astype(np.float32)))
    return graph.add("FULLY_CONNECTED", given, shape=(1, weights.shape[1]))


def best(graph: FlatGraph, value: Value, *, dtype: str = "int64", axis: int = -1) -> Value:
    """Add the place of the largest value along an axis, the first of equal ones."""
    axis %= len(value.shape)
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])
    return graph.add("ARG_MAX", [value, graph.constant(np.array([axis], np.int32))], shape=shape, dtype=dtype)


def cast(graph: FlatGraph, value: Value, dtype: str) -> Value:
    """Return a value in another dtype."""
    if value.dtype == dtype:
        return value
    if value.constant is None:
        return graph.add("CAST", [value], dtype=dtype)
    if dtype == "int32" and np.abs(value.constant).max(initial=0) > np.iinfo(np.int32).max:
        raise NoBuiltinsError(f"a whole number of more than 32 bits ({np.abs(value.constant).max()}) has no kernel")
    return graph.constant(value.constant.astype(dtype))


def gathered(graph: FlatGraph, table: Value, places: Value, axis: int) -> Value:
    """Add what stands at places along an axis."""
    axis %= len(table.shape)
    shape = (*table.shape[:axis], *places.shape, *table.shape[axis + 1 :])
    return graph.add("GATHER", [table, places], shape=shape, dtype=table.dtype, axis=axis)


def normalized(graph: FlatGraph, value: Value, axis: int, *, norm: str) -> Value:
    """Add a value whose numbers along an axis have a norm of 1: L1 or L2; zeros stay zeros."""
    parts = graph.add("ABS", [value]) if norm == "L1" else two(graph, "MUL", value, value)
    size = reduced(graph, "SUM", parts, [axis])
    size = size if norm == "L1" else graph.add("SQRT", [size])
    least = graph.constant(np.full(size.shape, np.finfo(np.float32).tiny, np.float32))
    return two(graph, "DIV", value, two(graph, "MAXIMUM", size, least))
