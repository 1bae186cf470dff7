"""The flow of values through an ONNX model, down through its loops, branches and functions. Needs onnx.

A value is its name: within a model, names of values are given once, in the graphs of loops and branches too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import onnx
import onnx.inliner
from onnx import numpy_helper

from edgemm_converter.judging.reachability import Flow, GraphOperation

_RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Sampling",
})  # fmt: skip
"""Their seeds say where a stream of numbers begins: each run goes on in it. `Sampling` is one of Microsoft's."""

_TRAINING = {"BiasDropout": 4, "BitmaskBiasDropout": 4, "BitmaskDropout": 2, "Dropout": 2}
"""Which input of a dropout says whether this is training."""


def random_operations(proto: Any) -> tuple[GraphOperation, ...]:
    """Return the random operations that the outputs of a model need."""
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    return flow_of(proto).random(value.name for value in proto.graph.output)


def flow_of(proto: Any) -> Flow:
    """Return the flow of a model without functions."""
    flow = Flow()
    _add(flow, proto.graph, {})
    return flow


def all_nodes(proto: Any) -> Iterator[Any]:
    """Yield the nodes of a model, those of its loops, branches and functions included."""
    waiting = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    while waiting:
        yield (node := waiting.pop())
        for attribute in node.attribute:
            waiting.extend(inner for body in (attribute.g, *attribute.graphs) for inner in body.node)


def _add(flow: Flow, graph: Any, constants: dict[str, Any]) -> None:
    constants.update((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
        bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        for body in bodies:
            _add(flow, body, constants)
        takes, gives = [name for name in node.input if name], [name for name in node.output if name]
        if node.op_type == "If":
            for body in bodies:
                _need(flow, gives, _names(body.output), takes)
        elif node.op_type in ("Loop", "Scan") and bodies:
            _add_loop(flow, node, bodies[0])
        else:
            name = node.name or (gives[0] if gives else "")
            results = [value for body in bodies for value in _names(body.output)]
            operation = GraphOperation(name, node.op_type, random=_is_random(node, constants))
            flow.add(operation, gives=gives, takes=[*takes, *results])


def _add_loop(flow: Flow, node: Any, body: Any) -> None:
    """Add a loop, of which each turn takes what the one before gave; a Loop's body says first if there is another."""
    given, arguments, results = list(node.input), _names(body.input), _names(body.output)
    for argument, value in zip(arguments, given, strict=False):
        flow.need(argument, value)
    if node.op_type == "Loop":
        repeated, steering, started, results_of = arguments[1:], [*results[:1], *given[:2]], given[2:], results[1:]
    else:
        scanned = next(attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs")
        states = len(arguments) - scanned
        repeated, steering, started, results_of = arguments[:states], [], given[:states], results
    for argument, result in zip(repeated, results, strict=False):
        flow.need(argument, result)
    _need(flow, list(node.output), results_of, steering)
    for value, start in zip(node.output, started, strict=False):
        flow.need(value, start)  # a loop that takes no turn gives what it began with


def _need(flow: Flow, gives: list[str], results: list[str], always: Iterable[str]) -> None:
    everything = list(always)
    for value, result in zip(gives, results, strict=False):
        flow.need(value, result, *everything)


def _is_random(node: Any, constants: Mapping[str, Any]) -> bool:
    """Tell whether a node is random; a dropout is one where this may be training."""
    if node.op_type not in _TRAINING:
        return node.op_type in _RANDOM
    training = "".join(node.input[_TRAINING[node.op_type] :][:1])
    known = constants.get(training)
    return bool(training) and (known is None or bool(numpy_helper.to_array(known).any()))


def _names(values: Iterable[Any]) -> list[str]:
    return [value.name for value in values]
