"""The state that a TFLite file keeps between inferences, found by reading it. Pure.

    found = tflite_state.of(model, signature=None)     # ("the resource variable 'stream/ring'",)

Two things keep state: a resource variable that an inference writes (ASSIGN_VARIABLE), as streaming models have it, and
a tensor that is marked as a variable, as the kernels SVDF, LSTM and RNN update it. What only an initialization writes
(CALL_ONCE), or nothing that the served signature runs, is a constant; and what no output needs does not matter.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgemm_converter.formats import tflite_flow

_OPERATORS = schema.BuiltinOperator
_FOLLOWED = (_OPERATORS.WHILE, _OPERATORS.IF)


def of(model: Any, *, signature: str | None) -> tuple[str, ...]:
    """Return what keeps state in a file, as its parts are called; as in `tflite_flow`, None is the first graph."""
    main = tflite_flow.graph_of(model, signature)
    graphs = _run_by(model, main)
    needed = tflite_flow.needed(model, main) | _unfollowed(model, graphs)
    read = {
        name: None for graph in graphs for tensor, name in _handles(model, graph).items() if (graph, tensor) in needed
    }
    found: dict[str, None] = {}
    for graph in graphs:
        found |= dict.fromkeys(_written(model, graph, read=tuple(read), needed=needed))
    return tuple(found)


def _run_by(model: Any, graph: int) -> dict[int, bool]:
    """Return the subgraphs that an inference of one runs, itself included, and whether the flow of values is followed.

    It is not where another operation than a loop or a branch calls one.
    """
    found, waiting = {graph: True}, [graph]
    while waiting:
        caller = waiting.pop()
        for operation in model.subgraphs[caller].operators or ():
            kind = _kind(model, operation)
            followed = found[caller] and kind in _FOLLOWED
            for called in _called(operation) if kind != _OPERATORS.CALL_ONCE else ():
                if called not in found or (found[called] and not followed):
                    found[called] = followed
                    waiting.append(called)
    return found


def _unfollowed(model: Any, graphs: Mapping[int, bool]) -> set[Hashable]:
    """Return all values of the subgraphs of which nobody knows whether an output needs them."""
    unknown = [graph for graph, followed in graphs.items() if not followed]
    return {(graph, tensor) for graph in unknown for tensor in range(len(model.subgraphs[graph].tensors))}


def _called(operation: Any) -> Iterator[int]:
    """Yield the subgraphs that an operation names, whatever kind it is of."""
    for options in (operation.builtinOptions, operation.builtinOptions2):
        for name, value in vars(options).items() if options is not None else ():
            if "subgraph" in name.lower() and isinstance(value, int) and value >= 0:
                yield value


def _written(model: Any, number: int, *, read: Sequence[str], needed: Container[Hashable]) -> Iterator[str]:
    """Yield what a subgraph writes of what is `read`; one that is called writes whichever variable it was given."""
    graph, own = model.subgraphs[number], _handles(model, number)
    for operation in graph.operators or ():
        kind = _kind(model, operation)
        if kind == _OPERATORS.ASSIGN_VARIABLE:
            written = own.get(int(operation.inputs[0]))
            yield from (f"the resource variable {name!r}" for name in read if written in {None, name})
        for index in operation.inputs if operation.inputs is not None else ():
            if index >= 0 and graph.tensors[index].isVariable and (number, int(index)) in needed:
                yield f"the variable tensor {_text(graph.tensors[index].name)!r} of {_name(kind)}"


def _handles(model: Any, number: int) -> dict[int, str]:
    """Return the names of the resource variables in a subgraph, by the tensors that are their handles."""
    return {
        int(operation.outputs[0]): _text(getattr(operation.builtinOptions, "sharedName", None))
        for operation in model.subgraphs[number].operators or ()
        if _kind(model, operation) == _OPERATORS.VAR_HANDLE
    }


def _kind(model: Any, operation: Any) -> int:
    code = model.operatorCodes[operation.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))  # files before 2.4 have the second alone


def _name(kind: int) -> str:
    return str(next(name for name, number in vars(_OPERATORS).items() if number == kind))


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else (name or "")
