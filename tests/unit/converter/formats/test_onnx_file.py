"""What an `.onnx` file is not: each is refused for what it is, and only a damaged one as damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from edgemm.errors import InputError
from edgemm_converter.formats import onnx_file


def _value(name: str, shape: tuple[int, ...] | None = (2, 3)) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(kind: str = "Relu", *, domain: str = "", shape: tuple[int, ...] | None = (2, 3), ir: int = 8) -> Any:
    node = helper.make_node(kind, ["x"], ["y"], domain=domain)
    graph = helper.make_graph([node], "net", [_value("x", shape)], [_value("y", shape)])
    opsets = [helper.make_opsetid(name, 17 if not name else 1) for name in {"", domain}]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def _without_output() -> Any:
    proto = _model()
    proto.graph.output[0].name = "z"
    return proto


def _in_a_branch() -> Any:
    branch = helper.make_graph([helper.make_node("Own", ["x"], ["z"], domain="com.me")], "b", [], [_value("z")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    graph = helper.make_graph([node], "net", [_value("x"), condition], [_value("y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _sequence() -> Any:
    kind = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["y"])], "net", [_value("x")], [kind])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: _model("Own", domain="com.me"), "operation Own of 'com.me' is no operation of ONNX"),
        (_in_a_branch, "operation Own of 'com.me' is no operation of ONNX"),
        (lambda: _model(ir=40), "of IR version 40, and .* is the newest that is read: export it for an older opset"),
        (lambda: _model(shape=None), "tensor 'x' has no shape: export the model with the shapes of its inputs"),
        (_without_output, "the file breaks a rule of ONNX.*; export it again"),
        (_sequence, r"'y' is no tensor \(sequence\): give tensors in and out"),
    ],
)
def test_a_file_is_refused_for_what_it_is(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        onnx_file.read(Path("net.onnx"), make().SerializeToString(), signature=None)


def test_operations_of_microsofts_are_left_to_onnx_runtime() -> None:
    read = onnx_file.read(Path("net.onnx"), _model("Gelu", domain="com.microsoft").SerializeToString(), signature=None)
    assert [tensor.name for tensor in read.outputs] == ["y"]


def test_a_file_that_was_cut_short_is_damaged() -> None:
    whole = _model().SerializeToString()
    with pytest.raises(InputError, match="cut short or damaged"):
        onnx_file.read(Path("net.onnx"), whole[: len(whole) // 2], signature=None)
