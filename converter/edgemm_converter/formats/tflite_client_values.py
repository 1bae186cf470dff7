"""Operations of a TFLite file that the values of its inputs may harm, and guards for those that kill. Needs LiteRT.

LiteRT computes FLOOR_MOD of 32 and 64 bits by the processor's own instruction, which has no quotient of the smallest
integer and −1 and stops the process. DIV and FLOOR_DIV answer, and all refuse division by 0 themselves.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemm_converter.formats import tflite_flow
from edgemm_converter.judging import client_values
from edgemm_converter.judging.reachability import Flow, GraphOperation

_OP = schema.BuiltinOperator
_DTYPES: dict[int, Any] = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}
_LENGTHS = {
    "BROADCAST_TO": (1,), "FILL": (0,), "ONE_HOT": (1,), "PAD": (1,), "PADV2": (1,), "RANGE": (0, 1, 2),
    "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "SCATTER_ND": (2,), "SPARSE_TO_DENSE": (1,),
    "TILE": (1,), "TRANSPOSE_CONV": (0,), "UNSORTED_SEGMENT_MAX": (2,), "UNSORTED_SEGMENT_MIN": (2,),
    "UNSORTED_SEGMENT_PROD": (2,), "UNSORTED_SEGMENT_SUM": (2,),
}  # fmt: skip
"""By operation, which of its inputs say how much memory it takes."""


def guarded(data: bytes, *, signature: str | None) -> tuple[bytes | None, tuple[str, ...]]:
    """Return a file with guards around dangerous divisions, None where it has none, and what to say of it."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    flow = tflite_flow.flow_of(model)
    main = tflite_flow.graph_of(model, signature)
    inputs = {(main, int(tensor)) for tensor in model.subgraphs[main].inputs}
    found: list[GraphOperation] = []
    chosen = _chosen_lengths(model, flow, inputs)
    for position, graph in enumerate(model.subgraphs):
        operators: list[Any] = []
        for operator in graph.operators:
            kind = tflite_flow.kind_of(model, operator)
            taken = [int(tensor) for tensor in operator.inputs] if operator.inputs is not None else []
            operation = GraphOperation(_name(graph, operator), kind)
            values = [(position, tensor) for tensor in taken]
            if (
                kind == "FLOOR_MOD"
                and _may_be_minus_one(model, graph, taken)
                and client_values.chosen(flow, inputs, values)
            ):
                found.append(operation)
                operators.extend(_guards(model, graph, operator))
            operators.append(operator)
        graph.operators = operators
    return (_packed(model) if found else None), client_values.notes(found, chosen)


def length_notes(data: bytes) -> tuple[str, ...]:
    """Return what to say of a converted file, whose divisions are safe, and whose first graph is served."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    inputs = {(0, int(tensor)) for tensor in model.subgraphs[0].inputs}
    return client_values.notes((), _chosen_lengths(model, tflite_flow.flow_of(model), inputs))


def _chosen_lengths(model: Any, flow: Flow, inputs: set[tuple[int, int]]) -> list[GraphOperation]:
    found = []
    for position, graph in enumerate(model.subgraphs):
        for operator in graph.operators:
            kind = tflite_flow.kind_of(model, operator)
            taken = [(position, int(operator.inputs[i])) for i in _LENGTHS.get(kind, ()) if i < len(operator.inputs)]
            found.append((GraphOperation(_name(graph, operator), kind), taken))
    return client_values.lengths(flow, inputs, found)


def _may_be_minus_one(model: Any, graph: Any, taken: list[int]) -> bool:
    """Tell whether a divisor of 32 or 64 bits is −1 somewhere, or no constant."""
    divisor = graph.tensors[taken[1]]
    dtype, data = _DTYPES.get(divisor.type), model.buffers[divisor.buffer].data
    if dtype is None or data is None or not len(data):
        return dtype is not None
    return bool(np.any(np.frombuffer(bytes(data), dtype) == -1))


def _guards(model: Any, graph: Any, operator: Any) -> list[Any]:
    """Return what stands before a remainder, and give it the divisor that this makes: 1 in the place of −1."""
    divisor = int(operator.inputs[1])
    kind, shape = graph.tensors[divisor].type, graph.tensors[divisor]
    own = f"edgemm_guard_{_name(graph, operator)}"

    def tensor(name: str, dtype: int, *, like: Any = None, value: int | None = None) -> int:
        buffer = 0
        if value is not None:
            model.buffers.append(schema.BufferT(data=np.frombuffer(np.array(value, _DTYPES[kind]).tobytes(), np.uint8)))
            buffer = len(model.buffers) - 1
        made = schema.TensorT(
            shape=[] if like is None else like.shape, shapeSignature=None if like is None else like.shapeSignature,
            type=dtype, buffer=buffer, name=f"{own}_{name}", hasRank=True,
        )  # fmt: skip
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    least, one = tensor("least", kind, value=-1), tensor("one", kind, value=1)
    found, safe = tensor("found", schema.TensorType.BOOL, like=shape), tensor("divisor", kind, like=shape)
    operator.inputs = [int(operator.inputs[0]), safe]
    return [
        schema.OperatorT(opcodeIndex=_code(model, _OP.EQUAL), inputs=[divisor, least], outputs=[found]),
        schema.OperatorT(opcodeIndex=_code(model, _OP.SELECT_V2), inputs=[found, one, divisor], outputs=[safe]),
    ]


def _code(model: Any, code: int) -> int:
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1))
    return len(model.operatorCodes) - 1


def _name(graph: Any, operator: Any) -> str:
    given = [] if operator.outputs is None else [int(tensor) for tensor in operator.outputs]
    return (graph.tensors[given[0]].name or b"").decode(errors="replace") if given else ""


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
