"""Graphs of half or double precision, rewritten in single precision, which every engine computes in.

Every tensor of such a type becomes float32, in loops and branches too; what the graph holds is converted. Of halves
that is more exact than the graph itself, of doubles less. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites import definitions
from edgemm_converter.rewrites.frozen import constants

HALVES = frozenset({tf.float16, tf.bfloat16})
DOUBLES = frozenset({tf.float64})
_SINGLE = tf.float32.as_datatype_enum


def used(concrete: Any) -> frozenset[Any]:
    """Return which of these types tensors of a concrete function are of."""
    found = {kind for holder, name in _types(concrete.graph.as_graph_def()) for kind in _kinds(getattr(holder, name))}
    return frozenset(kind for kind in HALVES | DOUBLES if kind.as_datatype_enum in found)


def in_single(concrete: Any, kinds: Collection[Any]) -> Any:
    """Return a concrete function in which tensors of these kinds are of float32, without variables.

    Raises:
        ValueError or tf.errors.OpError: TensorFlow cannot do it.
    """
    replaced = {kind.as_datatype_enum for kind in kinds}

    def edit(definition: Any) -> None:
        for node in definitions.nodes(definition):
            for attribute in node.attr.values():
                if attribute.HasField("tensor") and attribute.tensor.dtype in replaced:
                    values = tf.make_ndarray(attribute.tensor).astype(np.float32)
                    attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
        for holder, name in _types(definition):
            kind = getattr(holder, name)
            if isinstance(kind, int):
                setattr(holder, name, _SINGLE if kind in replaced else kind)
            else:
                kind[:] = [_SINGLE if one in replaced else one for one in kind]

    return definitions.edited(constants(concrete), edit)


def _types(definition: Any) -> Iterator[tuple[Any, str]]:
    """Yield each field of a graph definition that holds a type or several."""
    for node in definitions.nodes(definition):
        for attribute in node.attr.values():
            held = attribute.WhichOneof("value")
            if held == "type":
                yield attribute, "type"
            elif held == "list":
                yield attribute.list, "type"
    for function in definition.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            yield argument, "type"


def _kinds(held: Any) -> Collection[int]:
    return (held,) if isinstance(held, int) else held
