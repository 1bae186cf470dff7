"""Finished files whose clients may send what kills a process, or fills its memory: guarded, or told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgemm_converter.formats import onnx_file, tflite_file
from simulators.late_failures import Graph

_DTYPES = {"int32": TensorProto.INT32, "int64": TensorProto.INT64, "int16": TensorProto.INT16}
_OP = schema.BuiltinOperator
Constants = dict[str, Any]


def _onnx(nodes: list[Any], dtype: str = "int32", constants: Constants | None = None, out: int | None = None) -> bytes:
    kind, known = _DTYPES[dtype], constants or {}
    inputs = [helper.make_tensor_value_info(name, kind, [1, 6]) for name in ("a", "b") if name not in known]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", out or kind, [1, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _read_onnx(data: bytes) -> Any:
    return onnx_file.read(Path("m.onnx"), data, signature=None)


def _operands(dtype: str) -> tuple[Any, Any]:
    least = np.iinfo(dtype).min
    a = np.array([[least, least, -7, 7, 0, least + 1]], dtype)
    return a, np.array([[-1, 2, -1, -2, -1, -1]], dtype)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("kind", ["Div", "Mod"])
def test_a_division_in_an_onnx_file_is_guarded_with_the_same_answers(kind: str, dtype: str) -> None:
    file = _read_onnx(_onnx([helper.make_node(kind, ["a", "b"], ["y"], name="part")], dtype))
    assert file.guarded is not None
    assert file.notes[0].startswith(f"{kind} ('part'): a request with the smallest integer and the divisor -1")
    a, b = _operands(dtype)
    (got,) = onnxruntime.InferenceSession(file.guarded).run(None, {"a": a, "b": b})
    with np.errstate(all="ignore"):
        wanted = np.where(b == -1, -a, np.trunc(a / b).astype(dtype)) if kind == "Div" else np.mod(a, b)
    np.testing.assert_array_equal(got, wanted)
    assert _read_onnx(file.guarded).inputs == file.inputs


def test_a_division_in_a_branch_is_guarded() -> None:
    bodies = {
        f"{way}_branch": helper.make_graph(
            [helper.make_node("Div", ["a", "b"], [f"{way}_y"])], way, [],
            [helper.make_tensor_value_info(f"{way}_y", TensorProto.INT32, [1, 6])],
        )
        for way in ("then", "else")
    }  # fmt: skip
    file = _read_onnx(_onnx([helper.make_node("If", ["way"], ["y"], **bodies)], constants={"way": np.bool_(True)}))
    assert file.guarded is not None
    a, b = _operands("int32")
    (got,) = onnxruntime.InferenceSession(file.guarded).run(None, {"a": a, "b": b})
    assert got[0, 0] == np.iinfo("int32").min


@pytest.mark.parametrize(
    ("nodes", "dtype", "constants"),
    [
        ([helper.make_node("Div", ["a", "b"], ["y"])], "int32", {"b": np.int32(2)}),
        ([helper.make_node("Div", ["b", "a"], ["y"])], "int32", {"b": np.int32(2)}),
        ([helper.make_node("Div", ["a", "b"], ["y"])], "int16", {}),
        ([helper.make_node("Mod", ["a", "b"], ["y"], fmod=1)], "int32", {}),
        ([helper.make_node("Shape", ["a"], ["b"]), helper.make_node("Div", ["c", "b"], ["d"]),
          helper.make_node("Reshape", ["a", "d"], ["y"])], "int64", {"b": [1, 6], "c": [1, 36]}),
    ],
)  # fmt: skip
def test_a_division_that_cannot_kill_leaves_the_file_alone(nodes: Any, dtype: str, constants: Constants) -> None:
    if nodes[0].op_type == "Shape":
        constants = {"c": constants["c"]}
        nodes[0].output[0] = nodes[1].input[1] = "shape"
    file = _read_onnx(_onnx(nodes, dtype, constants))
    assert (file.guarded, file.notes) == (None, ())


def test_a_constant_divisor_of_minus_one_is_guarded() -> None:
    nodes = [helper.make_node("Div", ["a", "b"], ["y"])]
    assert _read_onnx(_onnx(nodes, constants={"b": np.int32(-1)})).guarded is not None


def test_lengths_that_clients_choose_are_told() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["a"], ["n"], keepdims=0), helper.make_node("Range", ["zero", "n", "one"], ["r"]),
        helper.make_node("ReduceSum", ["r"], ["s"], keepdims=0), helper.make_node("Add", ["a", "s"], ["y"]),
    ]  # fmt: skip
    constants = {"zero": np.int64(0), "one": np.int64(1)}
    file = _read_onnx(_onnx(nodes, "int64", constants))
    assert file.guarded is None
    assert [note.partition(" this takes")[0] for note in file.notes] == [
        "Range ('r'): values of an input decide how much memory"
    ]
    nodes[0] = helper.make_node("Size", ["a"], ["n"])
    assert _read_onnx(_onnx(nodes, "int64", constants)).notes == ()


def _tflite(dtype: str, *, divisor: int | None = None) -> bytes:
    buffers: list[Any] = [schema.BufferT()]
    main = Graph(buffers, [])
    kind = dtype.upper()
    a = main.tensor("a", (1, 6), kind=kind)
    data = None if divisor is None else np.array([divisor], dtype)
    b = main.tensor("b", (1, 6) if data is None else (1,), kind=kind, data=data)
    y = main.tensor("y", (1, 6), kind=kind)
    main.add(_OP.FLOOR_MOD, [a, b], y, schema.FloorModOptionsT())
    model = schema.ModelT(
        version=3, buffers=buffers, subgraphs=[main.finish("main", [a, b] if data is None else [a], [y])],
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=c, builtinCode=c, version=1) for c in main.codes],
    )  # fmt: skip
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_remainder_in_a_tflite_file_is_guarded_with_the_same_answers(dtype: str) -> None:
    file = tflite_file.read(Path("m.tflite"), _tflite(dtype), signature=None)
    assert file.guarded is not None
    assert file.notes[0].startswith("FLOOR_MOD ('y'): ")
    interpreter = Interpreter(model_content=file.guarded)
    interpreter.allocate_tensors()
    a, b = _operands(dtype)
    for detail, value in zip(interpreter.get_input_details(), (a, b), strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(got, np.where(b == -1, 0, np.mod(a, np.where(b == -1, 1, b))))


def test_a_remainder_of_a_constant_leaves_a_tflite_file_alone() -> None:
    assert tflite_file.read(Path("m.tflite"), _tflite("int32", divisor=3), signature=None).guarded is None
    assert tflite_file.read(Path("m.tflite"), _tflite("int32", divisor=-1), signature=None).guarded is not None
