"""Random operations in ONNX models: found wherever outputs need them, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemm.errors import InputError
from edgemm_converter.formats import onnx_file, onnx_flow

FLOAT, BOOL, INT = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
NOISE = helper.make_node("RandomNormalLike", ["x"], ["noise"], name="noise", scale=1e-9)
SUM = helper.make_node("Add", ["x", "noise"], ["y"])
COPY = helper.make_node("Identity", ["x"], ["y"])


def value(name: str, kind: int = FLOAT, shape: Sequence[int] = (2, 3)) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def constant(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array), name)


def model(*nodes: Any, constants: Sequence[Any] = (), **options: Any) -> Any:
    graph = helper.make_graph(list(nodes), "net", [value("x")], [value("y")], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **options)


def kinds(*nodes: Any, **options: Any) -> list[str]:
    return [operation.kind for operation in onnx_flow.random_operations(model(*nodes, **options))]


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("RandomNormal", [], ["noise"], shape=[2, 3], seed=3.0),
        helper.make_node("RandomUniform", [], ["noise"], shape=[2, 3]),
        helper.make_node("RandomUniformLike", ["x"], ["noise"]),
        helper.make_node("Bernoulli", ["x"], ["noise"]),
    ],
)
def test_random_kinds_are_found_with_and_without_a_seed(node: Any) -> None:
    assert kinds(node, SUM) == [node.op_type]
    assert kinds(node, COPY) == []


@pytest.mark.parametrize(("training", "random"), [(None, False), (False, False), (True, True)])
def test_a_dropout_is_random_where_this_is_training(training: bool | None, random: bool) -> None:
    named = [] if training is None else ["", "training"]
    dropout = helper.make_node("Dropout", ["x", *named], ["y"])
    constants = [] if training is None else [constant("training", training)]
    assert kinds(dropout, constants=constants) == ["Dropout"] * random
    as_node = helper.make_node("Constant", [], ["training"], value=constant("", bool(training)))
    assert kinds(as_node, dropout) == ["Dropout"] * random


def test_branches_are_looked_into() -> None:
    branches = {
        "then_branch": helper.make_graph([NOISE], "then", [], [value("noise")]),
        "else_branch": helper.make_graph([helper.make_node("Identity", ["x"], ["same"])], "else", [], [value("same")]),
    }
    branch = helper.make_node("If", ["condition"], ["z"], **branches)
    asked = constant("condition", np.array(0, bool))
    assert kinds(branch, helper.make_node("Add", ["x", "z"], ["y"]), constants=[asked]) == ["RandomNormalLike"]
    assert kinds(branch, COPY, constants=[asked]) == []


@pytest.mark.parametrize(("result", "random"), [("noisy", True), ("plain", False)])
def test_loops_are_looked_into_by_result(result: str, random: bool) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["next"]),
            helper.make_node("RandomNormalLike", ["a"], ["drawn"]),
            helper.make_node("Add", ["a", "drawn"], ["a_next"]),
            helper.make_node("Neg", ["b"], ["b_next"]),
        ],
        "body",
        [value("i", INT, ()), value("again", BOOL, ()), value("a"), value("b")],
        [value("next", BOOL, ()), value("a_next"), value("b_next")],
    )
    loop = helper.make_node("Loop", ["turns", "", "x", "x"], ["noisy", "plain"], body=body)
    end = helper.make_node("Identity", [result], ["y"])
    assert kinds(loop, end, constants=[constant("turns", 3)]) == ["RandomNormalLike"] * random


def test_functions_of_the_model_are_looked_into() -> None:
    inside = [helper.make_node("RandomNormalLike", ["a"], ["n"]), helper.make_node("Add", ["a", "n"], ["b"])]
    function = helper.make_function("own", "noisy", ["a"], ["b"], inside, [helper.make_opsetid("", 17)])
    proto = model(helper.make_node("noisy", ["x"], ["y"], domain="own"), functions=[function])
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert [operation.kind for operation in onnx_flow.random_operations(proto)] == ["RandomNormalLike"]


def test_a_finished_file_that_draws_is_refused_by_name() -> None:
    proto = model(NOISE, SUM)
    onnx.checker.check_model(proto)
    said = r"net\.onnx: RandomNormalLike \('noise'\) draws random numbers when it runs, .*: draw only where"
    with pytest.raises(InputError, match=said):
        onnx_file.read(Path("net.onnx"), proto.SerializeToString(), signature=None)
    read = onnx_file.read(Path("net.onnx"), model(NOISE, COPY).SerializeToString(), signature=None)
    assert [t.name for t in read.outputs] == ["y"]
