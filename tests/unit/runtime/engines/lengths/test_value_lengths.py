"""Which models have lengths that follow values: by what says how long a tensor is, and not by the operation alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemm_runtime.engines.lengths.onnx_graph import read_graph
from edgemm_runtime.engines.lengths.value_lengths import ONNX, TFLITE, Graph, GraphNode, Rules, follow_values


def onnx_file(nodes: Sequence[Any], weights: dict[str, Any] | None = None) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in ("x", "n")],
        [helper.make_tensor_value_info("y", TensorProto.INT64, None)],
        [numpy_helper.from_array(np.array(value), name) for name, value in (weights or {}).items()],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(","), outputs.split(","), **attributes)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Range", "zero,n,one")],
        [node("Tile", "x,n")],
        [node("Expand", "x,n")],
        [node("ConstantOfShape", "n")],
        [node("OneHot", "x,n,zero")],
        [node("Pad", "x,n")],
        [node("Resize", "x,,,n")],
        [node("Upsample", "x,n")],
        [node("Cast", "n", "a"), node("Mul", "a,one", "b"), node("Range", "zero,b,one")],
        [node("Shape", "x", "a"), node("Mul", "a,n", "b"), node("ConstantOfShape", "b")],
    ],
)
def test_a_length_that_is_computed_of_values_follows_them(nodes: list[Any]) -> None:
    assert follow_values(read_graph(onnx_file(nodes, {"zero": 0, "one": 1})), ONNX)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Add", "x,n")],
        [node("Tile", "x,one")],
        [node("Shape", "x", "a"), node("Expand", "n,a")],
        [node("Shape", "x", "a"), node("Add", "a,one", "b"), node("Range", "zero,b,one")],
        [node("TopK", "x,n", "y,i")],
        [node("NonZero", "x")],
        [node("NonZero", "x", "a"), node("Shape", "a", "b"), node("ConstantOfShape", "b")],
        [node("Slice", "x,n,n")],
    ],
)
def test_a_length_that_follows_shapes_or_is_fixed_does_not(nodes: list[Any]) -> None:
    assert not follow_values(read_graph(onnx_file(nodes, {"zero": 0, "one": 1})), ONNX)


def body(nodes: Sequence[Any], inputs: str, outputs: str) -> Any:
    described = [
        [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in names.split(",") if name]
        for names in (inputs, outputs)
    ]
    return helper.make_graph(nodes, "body", *described)


def test_bodies_are_looked_into_and_loops_that_values_end_follow_them() -> None:
    grown = body([node("Tile", "x,n", "t")], "", "t")
    plain = body([node("Add", "x,n", "t")], "", "t")
    assert follow_values(read_graph(onnx_file([node("If", "n", then_branch=grown, else_branch=plain)])), ONNX)
    assert not follow_values(read_graph(onnx_file([node("If", "n", then_branch=plain, else_branch=plain)])), ONNX)
    steps = body([node("Identity", "c", "d"), node("Identity", "s", "t")], "i,c,s", "d,t")
    for inputs, expected in (("n,,x", True), (",n,x", True), ("count,,x", False)):
        loop = node("Loop", inputs, body=steps)
        assert follow_values(read_graph(onnx_file([loop], {"count": 3})), ONNX) is expected


def test_an_input_with_a_default_is_a_constant() -> None:
    assert not follow_values(read_graph(onnx_file([node("Tile", "x,n")], {"n": [2]})), ONNX)


@pytest.mark.parametrize(
    "data", [b"\x0f", b"\x3a\x7f", b"\xff" * 12, b"ORTM rest", onnx_file([node("Tile", "x,n")])[:-3]]
)
def test_what_is_no_file_is_said_so(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_graph(data)


@pytest.mark.parametrize("rules", [ONNX, TFLITE])
def test_every_rule_holds_for_each_of_its_inputs(rules: Rules) -> None:
    for kind, positions in rules.lengths.items():
        for at in positions:
            inputs = tuple("n" if index == at else "weight" for index in range(4))
            assert follow_values(Graph(("n",), (GraphNode(kind, inputs, ("y",)),)), rules)
            assert not follow_values(Graph((), (GraphNode(kind, inputs, ("y",)),)), rules)
