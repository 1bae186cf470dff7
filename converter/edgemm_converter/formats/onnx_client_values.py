"""Operations of an ONNX model that the values of its inputs may harm, and guards for those that kill. Needs onnx.

ONNX Runtime divides integers of 32 and 64 bits by the processor's own instruction, which has no quotient of the
smallest one and −1 and stops the process. Division by 0 it refuses itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import helper, numpy_helper

from edgemm_converter.formats import onnx_flow
from edgemm_converter.judging import client_values
from edgemm_converter.judging.reachability import Flow, GraphOperation

_DTYPES: dict[int, Any] = {onnx.TensorProto.INT32: np.int32, onnx.TensorProto.INT64: np.int64}
_LENGTHS = {
    "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2), "ConstantOfShape": (0,), "DFT": (1,),
    "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,), "MaxUnpool": (2,), "OneHot": (1,), "Pad": (1,),
    "Range": (0, 1, 2), "Resize": (1, 2, 3), "RoiAlign": (1,), "Tile": (1,), "Upsample": (1,),
}  # fmt: skip
"""By operation, which of its inputs say how much memory it takes."""


def guarded(proto: Any) -> tuple[bytes | None, tuple[str, ...]]:
    """Return a model with guards around dangerous divisions, None where it has none, and what to say of it."""
    model = onnx.ModelProto()
    model.CopyFrom(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)
    flow = onnx_flow.flow_of(model)
    constants = dict(_constants(model.graph))
    inputs = {value.name for value in model.graph.input} - {t.name for t in model.graph.initializer}
    found: list[GraphOperation] = []
    if any(node.op_type in ("Div", "Mod") for node in onnx_flow.all_nodes(model)):
        dtypes = _dtypes(model)
        _guard(model.graph, lambda node: _is_dangerous(node, flow, inputs, constants, dtypes), dtypes, found)
    said = client_values.notes(found, _chosen_lengths(model, flow, inputs))
    return (bytes(model.SerializeToString(deterministic=True)) if found else None), said


def length_notes(data: bytes) -> tuple[str, ...]:
    """Return what to say of a converted file, whose divisions are safe."""
    proto = onnx.load_from_string(data)
    inputs = {value.name for value in proto.graph.input}
    return client_values.notes((), _chosen_lengths(proto, onnx_flow.flow_of(proto), inputs))


def _chosen_lengths(model: Any, flow: Flow, inputs: set[str]) -> list[GraphOperation]:
    lengths = (
        (_operation(node), [name for i, name in enumerate(node.input) if name and i in _LENGTHS[node.op_type]])
        for node in onnx_flow.all_nodes(model)
        if node.op_type in _LENGTHS
    )
    return client_values.lengths(flow, inputs, lengths)


def _is_dangerous(node: Any, flow: Flow, inputs: set[str], constants: dict[str, Any], dtypes: dict[str, int]) -> bool:
    if node.op_type not in ("Div", "Mod") or any(a.name == "fmod" and a.i for a in node.attribute):
        return False
    dtype = _DTYPES.get(next((dtypes[name] for name in node.input if name in dtypes), 0))
    if dtype is None:
        return False
    wanted = zip(node.input, (np.iinfo(dtype).min, -1), strict=True)
    return client_values.chosen(flow, inputs, list(node.input)) and all(
        name not in constants or np.any(numpy_helper.to_array(constants[name]) == value) for name, value in wanted
    )


def _guard(graph: Any, is_dangerous: Any, dtypes: dict[str, int], found: list[GraphOperation]) -> None:
    """Put guards into a graph and the graphs of its loops and branches: a ÷ −1 becomes −a ÷ 1."""
    nodes: list[Any] = []
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _guard(body, is_dangerous, dtypes, found)
        if is_dangerous(node):
            found.append(_operation(node))
            nodes.extend(_guards(node, next(dtypes[name] for name in node.input if name in dtypes)))
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _operation(node: Any) -> GraphOperation:
    return GraphOperation(node.name or node.output[0], node.op_type)


def _guards(node: Any, dtype: int) -> list[Any]:
    """Return what stands before a division, and give it the operands that this makes."""
    own = f"edgemm_guard_{node.output[0]}"
    dividend, divisor = node.input

    def number(name: str, value: int) -> Any:
        tensor = numpy_helper.from_array(np.array(value, _DTYPES[dtype]), f"{own}_{name}")
        return helper.make_node("Constant", [], [f"{own}_{name}"], value=tensor)

    made = [
        number("least", -1), number("two", 2),
        helper.make_node("Equal", [divisor, f"{own}_least"], [f"{own}_found"]),
        helper.make_node("Cast", [f"{own}_found"], [f"{own}_count"], to=dtype),
        helper.make_node("Mul", [f"{own}_count", f"{own}_two"], [f"{own}_twice"]),
        helper.make_node("Add", [divisor, f"{own}_twice"], [f"{own}_divisor"]),
    ]  # fmt: skip
    node.input[1] = f"{own}_divisor"
    if node.op_type == "Div":
        made += [
            number("one", 1),
            helper.make_node("Sub", [f"{own}_one", f"{own}_twice"], [f"{own}_sign"]),
            helper.make_node("Mul", [dividend, f"{own}_sign"], [f"{own}_dividend"]),
        ]
        node.input[0] = f"{own}_dividend"
    return made


def _dtypes(model: Any) -> dict[str, int]:
    """Return the element types that are known of values, those in loops and branches too."""
    inferred = onnx.shape_inference.infer_shapes(model)
    found: dict[str, int] = {}
    for graph in _graphs(inferred.graph):
        found |= {t.name: t.data_type for t in graph.initializer}
        values = (*graph.input, *graph.output, *graph.value_info)
        found |= {v.name: v.type.tensor_type.elem_type for v in values if v.type.tensor_type.elem_type}
    return found


def _constants(main: Any) -> Iterator[tuple[str, Any]]:
    for graph in _graphs(main):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                yield node.output[0], node.attribute[0].t


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(body)
