"""The values in a graph that is being rewritten: tensors, and complex numbers as pairs of real tensors.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.tensor_util import constant_value_as_shape

from edgemm_converter.data.arrays import Array


@dataclass(frozen=True)
class Pair:
    """A complex tensor as its real and its imaginary part."""

    real: Any
    imag: Any


@dataclass(frozen=True)
class Outside:
    """What a graph takes from outside it and no file can hold, such as a table; its values can be read."""

    handle: Any


Value = Any
"""A tensor, a `Pair`, or something `Outside`."""

Copy = Callable[[Sequence[Any]], Sequence[Any]]
"""Repeats the operation at hand on other inputs of the same kind, and returns its outputs."""

Rule = Callable[[Any, Sequence[Value], Copy], Sequence[Value] | None]
"""Takes an operation, what flows into it and its `Copy`; returns what comes out, or None to leave it as it is."""

Rules = Mapping[str, Rule]
"""By type of operation."""


def first(*rules: Rule) -> Rule:
    """Return the rule that asks some in turn, until one applies."""

    def write(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
        return next((found for rule in rules if (found := rule(operation, inputs, copy)) is not None), None)

    return write


def together(tables: Sequence[Rules]) -> Rules:
    """Return all rules of some tables; those of one type of operation are asked in the order of the tables."""
    found: dict[str, Rule] = {}
    for kind, rule in (item for table in tables for item in table.items()):
        found[kind] = first(found[kind], rule) if kind in found else rule
    return found


_KNOWN: Mapping[str, Callable[..., Any]] = {
    "Add": np.add, "AddV2": np.add, "Cast": np.asarray, "Mul": np.multiply, "RealDiv": np.divide, "Sub": np.subtract,
    "ExpandDims": lambda x, axis: np.expand_dims(x, int(axis)),
}  # fmt: skip


def known(tensor: Any) -> Array | None:
    """Return the value of a tensor that follows from constants and from sizes that are fixed; None if it is free."""
    value: Array | None = tf.get_static_value(tensor)
    operation = tensor.op
    if value is not None:
        return value
    if operation.type == "StridedSlice" and tensor.shape.rank == 1 and tensor.dtype.is_integer:
        sizes = constant_value_as_shape(tensor)
        return np.array(sizes.as_list(), tensor.dtype.as_numpy_dtype) if sizes.is_fully_defined() else None
    if operation.type not in _KNOWN:
        return None
    parts = [part for part in map(known, operation.inputs) if part is not None]
    if len(parts) < len(operation.inputs):
        return None
    return np.asarray(_KNOWN[operation.type](*parts)).astype(tensor.dtype.as_numpy_dtype)
