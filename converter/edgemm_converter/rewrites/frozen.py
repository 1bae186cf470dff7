"""The frozen graph of a concrete function: variables are replaced by their values, and tables can be read.

TensorFlow's own freezing inlines functions and copies all weights several times, which takes a quarter of the time to
convert ResNet50. A graph without functions inside needs none of that. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites import definitions

READ = "ReadVariableOp"
WRITES = ("Assign", "ResourceScatter", "ResourceStridedSliceAssign", "LookupTableInsert", "LookupTableRemove")
"""How the kinds of operations begin that change what a graph captures."""


BRANCHES = ("Case", "StatelessCase")
"""Switches of any number of branches."""
_LOWERED = "_lower_using_switch_merge"


@dataclass(frozen=True)
class FrozenGraph:
    """A graph without variables, by its tensors."""

    graph: Any
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    values: Mapping[str, Array]
    """What stands in the place of variables, which `READ` reads, by the name of their placeholder in the graph."""

    tables: Mapping[str, Any] = field(default_factory=dict)
    """The handles of tables outside of the graph, by the name of their placeholder in it."""


def constants(concrete: Any) -> Any:
    """Return a concrete function whose variables are constants, and which captures tables alone.

    What it writes is dropped: `sources.state` has checked that no output needs it.

    Raises:
        ValueError or tf.errors.OpError: TensorFlow cannot do it.
    """
    nodes = list(definitions.nodes(concrete.graph.as_graph_def()))
    if any(node.op.startswith(WRITES) for node in nodes):
        concrete = definitions.edited(concrete, _without_writes)
    if any(node.op in BRANCHES and _LOWERED in node.attr for node in nodes):
        concrete = definitions.edited(concrete, _with_whole_branches)
    constant = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    left = {tensor.op.name for tensor in constant.inputs}
    tables = {name: handle for name, handle in definitions.captured(concrete).items() if name in left}
    return definitions.of_definition(constant.graph.as_graph_def(), like=concrete, captures=tables)


def _without_writes(definition: Any) -> None:
    for body in (definition.node, *(function.node_def for function in definition.library.function)):
        gone = {node.name for node in body if node.op.startswith(WRITES)}
        for node in body:
            kept = [name for name in node.input if name.removeprefix("^") not in gone]
            del node.input[:]
            node.input.extend(kept)
        left = [node for node in body if node.name not in gone]
        copies = [type(node).FromString(node.SerializeToString()) for node in left]
        del body[:]
        body.extend(copies)
    for function in definition.library.function:
        there = {node.name for node in function.node_def}
        for name in [name for name, node in function.control_ret.items() if node not in there]:
            del function.control_ret[name]
        outputs = [name for name in function.signature.control_output if name in function.control_ret]
        del function.signature.control_output[:]
        function.signature.control_output.extend(outputs)


def _with_whole_branches(definition: Any) -> None:
    """Keep switches as they are: TensorFlow, asked for that, does so with branches of two and with loops alone."""
    for node in definitions.nodes(definition):
        if node.op in BRANCHES:
            node.attr.pop(_LOWERED, None)


def freeze(concrete: Any) -> FrozenGraph:
    """Return the graph of a concrete function; its inputs and outputs are in the same order.

    Raises:
        ValueError or tf.errors.OpError: TensorFlow cannot do it.
    """
    captures = concrete.graph.captures
    captured = {id(inside) for _, inside in captures}
    if not _is_plain(concrete.graph, captured) or any(id(tensor) in captured for tensor in concrete.outputs):
        constant = constants(concrete)
        tables = definitions.captured(constant)
        return FrozenGraph(
            constant.graph, constant.inputs[: len(constant.inputs) - len(tables)], constant.outputs, {}, tables
        )
    inputs = concrete.inputs[: len(concrete.inputs) - len(captures)]
    values = {inside.op.name: _value(variable, inside) for variable, inside in captures if inside.consumers()}
    return FrozenGraph(concrete.graph, inputs, concrete.outputs, values)


def needed(outputs: Sequence[Any]) -> list[Any]:
    """Return the operations that outputs of a graph need, in an order in which they can run."""
    needed, waiting = set(), [t.op for t in outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting.extend(t.op for t in operation.inputs)
    return [operation for operation in outputs[0].graph.get_operations() if operation in needed]


def _is_plain(graph: Any, captured: set[int]) -> bool:
    """Tell whether a graph has no functions inside and does nothing with what it captured but read real variables."""
    for operation in graph.get_operations():
        if any(attribute.HasField("func") for attribute in operation.node_def.attr.values()):
            return False
        if any(id(tensor) in captured for tensor in operation.inputs) and (
            operation.type != READ or operation.outputs[0].dtype.is_complex
        ):
            return False
    return True


def _value(variable: Any, inside: Any) -> Array:
    (read, *_) = inside.consumers()
    found: Array = tf.raw_ops.ReadVariableOp(resource=variable, dtype=read.outputs[0].dtype).numpy()
    return found
