"""The operations that tf2onnx writes in a form that loses something, and how they are written here.

A handler takes tf2onnx's graph, the node, its name and nothing more, and changes the node in place. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from tf2onnx.graph_builder import GraphBuilder
from tf2onnx.onnx_opset import controlflow, logical, tensor

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
_COMPARED: Mapping[str, tuple[str, Callable[..., None]]] = {
    "Greater": ("Greater", logical.GreaterLess.version_7),
    "GreaterEqual": ("GreaterOrEqual", logical.GreaterLessEqual.version_12),
    "Less": ("Less", logical.GreaterLess.version_7),
    "LessEqual": ("LessOrEqual", logical.GreaterLessEqual.version_12),
}


def _select(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Choose, where tf2onnx multiplies by 0 and 1: 0 times a NaN that is not chosen is NaN."""
    if graph.get_dtype(node.output[0]) in _FLOATS:
        node.set_attr("handles_nan", 1)
    controlflow.Select.version_9(graph, node)
    node.attr.pop("handles_nan", None)


def _compare(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Compare integers as they are: as floats, 2²⁴ and its successor are equal."""
    kind, usual = _COMPARED[node.type]
    if graph.get_dtype(node.input[0]) not in _INTEGERS:
        usual(graph, node)
        return
    node.type = kind
    for value in dict.fromkeys(node.input):  # the counter of a loop has 64 bits, whatever its type here
        cast = graph.make_node("Cast", [value], attr={"to": onnx.TensorProto.INT64})
        graph.replace_input(node, value, cast.output[0])


def _top_k(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Order integers as they are, for the same reason."""
    dtype = graph.get_dtype(node.input[0])
    node.type = "TopK"
    if dtype not in _INTEGERS:
        tensor.TopKV2.version_11(graph, node)
        return
    count = graph.make_node("Cast", [node.input[1]], attr={"to": onnx.TensorProto.INT64})
    axes = GraphBuilder(graph).make_unsqueeze({"data": count.output[0], "axes": [0]})
    graph.replace_input(node, node.input[1], axes, 1)
    wanted, shape = graph.get_dtype(node.output[1]), graph.get_shape(node.output[1])
    cast = graph.insert_new_node_on_output("Cast", node.output[1], to=wanted)
    graph.set_dtype(cast.output[0], wanted)
    graph.set_shape(cast.output[0], shape)
    graph.set_dtype(node.output[1], onnx.TensorProto.INT64)


def _remainder(_graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Take C's remainder, of the sign of the dividend, which is exact."""
    node.type = "Mod"
    node.set_attr("fmod", 1)


HANDLERS: Mapping[str, tuple[Callable[..., None], list[str]]] = {
    "Select": (_select, []),
    "SelectV2": (_select, []),
    "TopKV2": (_top_k, []),
    "TruncateMod": (_remainder, []),
    **{kind: (_compare, []) for kind in _COMPARED},
}
"""By TensorFlow's kind of operation, as tf2onnx takes them."""
