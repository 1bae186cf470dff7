"""Simulated quantization, of which models that were trained for integers are full, taken as the limits that it sets.

A FakeQuant operation limits its input to a range and rounds it to a step of that range. Weights stay rounded, as they
were trained. Of activations the limits are kept, and the rounding is left out: a float variant needs none, and an
integer variant rounds so itself, at the range that the limits give. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites import definitions
from edgemm_converter.rewrites.frozen import constants

_WITH_ATTRIBUTES = "FakeQuantWithMinMaxArgs"
_KINDS = (_WITH_ATTRIBUTES, "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")


def count(concrete: Any) -> int:
    """Return how many such operations a concrete function has, those of weights included."""
    return sum(node.op in _KINDS for node in definitions.nodes(concrete.graph.as_graph_def()))


def as_limits(concrete: Any) -> Any:
    """Return a concrete function without variables, in which what depends on inputs is limited and not rounded.

    Raises:
        ValueError or tf.errors.OpError: TensorFlow cannot make it.
    """
    constant = definitions.edited(constants(concrete), _without_order)
    definition = constant.graph.as_graph_def()
    depending = _depending(definition.node)
    fixed = [node.name for node in definition.node if node.op in _KINDS and node.name not in depending]
    weights: Mapping[str, Array] = {}
    if fixed:
        rounded = constant.prune([], [f"{name}:0" for name in fixed])()
        weights = {name: tensor.numpy() for name, tensor in zip(fixed, rounded, strict=True)}

    def edit(definition: Any) -> None:
        for node in [node for node in definition.node if node.op in _KINDS]:
            if node.name in weights:
                _fill(node, weights[node.name])
            else:
                _limit(node, definition.node, of_function=False)
        for function in definition.library.function:
            rounding = [node for node in function.node_def if node.op in _KINDS]
            for node in rounding:
                _limit(node, function.node_def, of_function=True)
            _rename_results(function, {f"{node.name}:outputs:0": f"{node.name}:z:0" for node in rounding})

    return definitions.edited(constant, edit)


def _without_order(definition: Any) -> None:
    """Drop what orders operations: all of a function's are to come after its arguments, weights too."""
    for node in definition.node:
        kept = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(kept)


def _limit(node: Any, body: Any, *, of_function: bool) -> None:
    """Make Minimum of a node, and Maximum before it; in a function, results are named after the operation's own."""
    first, *after = node.input
    if node.op == _WITH_ATTRIBUTES:
        for name in ("min", "max"):
            _fill(body.add(name=f"{node.name}/{name}"), np.float32(node.attr[name].f))
        after[:0] = [f"{node.name}/{name}{':output:0' if of_function else ''}" for name in ("min", "max")]
    low, high, *after = after
    lower = body.add(name=f"{node.name}/Maximum", op="Maximum", input=[first, low])
    node.op = "Minimum"
    del node.input[:]
    node.input.extend([f"{lower.name}{':z:0' if of_function else ''}", high, *after])
    for made in (node, lower):
        made.attr.clear()
        made.attr["T"].type = tf.float32.as_datatype_enum


def _fill(node: Any, values: Any) -> None:
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, tf.float32))
    node.attr["dtype"].type = tf.float32.as_datatype_enum


def _rename_results(function: Any, names: Mapping[str, str]) -> None:
    for node in function.node_def:
        node.input[:] = [names.get(name, name) for name in node.input]
    for key, name in function.ret.items():
        function.ret[key] = names.get(name, name)


def _depending(nodes: Sequence[Any]) -> set[str]:
    """Return the names of the nodes that depend on what a graph is given."""
    found: set[str] = set()
    for node in nodes:  # TensorFlow writes them in an order in which they can run
        before = (name.partition(":")[0] for name in node.input)
        if node.op == "Placeholder" or any(name in found for name in before):
            found.add(node.name)
    return found
