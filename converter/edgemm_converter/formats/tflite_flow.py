"""The flow of values through a TFLite file, down through its loops and branches. Needs LiteRT, and no TensorFlow.

A value is (graph, tensor), by their positions in the file.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgemm_converter.judging.reachability import Flow, GraphOperation

_KINDS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_RANDOM = frozenset({
    schema.BuiltinOperator.MULTINOMIAL, schema.BuiltinOperator.RANDOM_STANDARD_NORMAL,
    schema.BuiltinOperator.RANDOM_UNIFORM,
})  # fmt: skip
"""Their seeds say where a stream of numbers begins: each run goes on in it."""


def random_operations(model: Any, *, signature: str | None) -> tuple[GraphOperation, ...]:
    """Return the random operations that the outputs of a file need, by the names of the tensors that they give.

    `model` is the file as the schema's object; without `signature`, its first graph counts.
    """
    main = graph_of(model, signature)
    return flow_of(model).random((main, tensor) for tensor in _indices(model.subgraphs[main].outputs))


def needed(model: Any, graph: int) -> set[Hashable]:
    """Return all values that the outputs of a graph need, as (graph, tensor)."""
    return flow_of(model).reached((graph, tensor) for tensor in _indices(model.subgraphs[graph].outputs))


def graph_of(model: Any, signature: str | None) -> int:
    """Return the position of a signature's graph; without one, that of the first."""
    graphs = {found.signatureKey.decode(): int(found.subgraphIndex) for found in model.signatureDefs or ()}
    return graphs.get(signature or "", 0)


def kind_of(model: Any, operator: Any) -> str:
    """Return what kind of operation this is, as the schema names it."""
    code = model.operatorCodes[operator.opcodeIndex]
    kind = max(code.builtinCode, code.deprecatedBuiltinCode)  # files from before schema 3a have the second alone
    return str(_KINDS.get(kind, kind))


def flow_of(model: Any) -> Flow:
    """Return the flow of all graphs of a file."""
    flow = Flow()
    for position in range(len(model.subgraphs)):
        _add(flow, model, position)
    return flow


def _add(flow: Flow, model: Any, position: int) -> None:
    graph = model.subgraphs[position]
    for operation in graph.operators:
        code = model.operatorCodes[operation.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)  # files from before schema 3a have the second alone
        takes = [(position, tensor) for tensor in _indices(operation.inputs)]
        gives = [(position, tensor) for tensor in _indices(operation.outputs)]
        options = operation.builtinOptions
        if kind == schema.BuiltinOperator.WHILE:
            _add_loop(flow, model, (takes, gives), (options.bodySubgraphIndex, options.condSubgraphIndex))
        elif kind == schema.BuiltinOperator.IF:
            for called in (options.thenSubgraphIndex, options.elseSubgraphIndex):
                _add_call(flow, model, (takes[1:], gives), called, always=takes[:1])
        else:
            name = (graph.tensors[gives[0][1]].name or b"").decode(errors="replace") if gives else ""
            flow.add(
                GraphOperation(name, _KINDS.get(kind, str(kind)), random=kind in _RANDOM), gives=gives, takes=takes
            )


def _add_call(flow: Flow, model: Any, edges: Any, called: int, *, always: Iterable[Any]) -> None:
    takes, gives = edges
    for value, result in zip(gives, _indices(model.subgraphs[called].outputs), strict=True):
        flow.need(value, (called, result), *always)
    for argument, value in zip(_indices(model.subgraphs[called].inputs), takes, strict=True):
        flow.need((called, argument), value)


def _add_loop(flow: Flow, model: Any, edges: Any, called: tuple[int, int]) -> None:
    takes, gives = edges
    (body, condition), graphs = called, model.subgraphs
    for given, value in zip(gives, takes, strict=True):
        flow.need(given, value, *((condition, result) for result in _indices(graphs[condition].outputs)))
    _add_call(flow, model, edges, body, always=())
    columns = zip(
        *(_indices(v) for v in (graphs[body].inputs, graphs[condition].inputs, graphs[body].outputs)), strict=True
    )
    for repeated, asked, result in columns:
        flow.need((body, repeated), (body, result))
        flow.need((condition, asked), (body, repeated))


def _indices(found: Any) -> list[int]:
    return [] if found is None else [int(index) for index in found if index >= 0]
