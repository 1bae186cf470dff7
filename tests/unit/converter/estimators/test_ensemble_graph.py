"""Ensembles as operations of ONNX, run in the device's engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from edgemm_converter.estimators import ensemble_graph, tree_tables  # noqa: E402 - needs them
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode  # noqa: E402

NAN = float("nan")


def trees(margins: list[tuple[float, float]], link: Link, **more: Any) -> Ensemble:
    """One stump for each target, at 0.1 of the only column: `margins` are its left and right leaf."""
    made = tuple(
        Tree(
            (
                TreeNode(0, 0.1, 1, 2, missing_left=True),
                TreeNode(LEAF, values=(left,)),
                TreeNode(LEAF, values=(right,)),
            ),
            target,
        )
        for target, (left, right) in enumerate(margins)
    )
    settings = {"classifies": False, "base": (0.0,) * len(margins), **more}
    return Ensemble(made, 1, link=link, **settings)


def run(table: Ensemble, column: list[float], outputs: list[str]) -> list[Any]:
    nodes = ensemble_graph.nodes(tree_tables.rounded(table), "x", outputs)
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 1])
    graph = onnx.helper.make_graph(nodes, "g", [given], [onnx.ValueInfoProto(name=name) for name in outputs])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(ensemble_graph.ML_DOMAIN, 3)]
    proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(outputs, {"x": np.array(column, np.float32)[:, np.newaxis]}))


LEFT, RIGHT = -1.5, 2.0
LINKS: dict[Link, Callable[[Any], Any]] = {
    Link.IDENTITY: lambda m: m,
    Link.SIGMOID: lambda m: 1 / (1 + np.exp(-m)),
    Link.EXP: np.exp,
    Link.LOG1P_EXP: lambda m: np.log1p(np.exp(m)),
    Link.SIGNED_SQUARE: lambda m: m * abs(m),
    Link.SIGN: lambda m: float(m > 0),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_makes_the_answer(link: Link) -> None:
    (found,) = run(trees([(LEFT, RIGHT)], link, base=(0.25,)), [0.0, 1.0, NAN], ["value"])
    wanted = [LINKS[link](margin + 0.25) for margin in (LEFT, RIGHT, LEFT)]  # a missing value goes left
    assert np.allclose(found[:, 0], wanted, rtol=1e-6)


def test_float32_next_to_a_double_threshold_goes_where_it_went() -> None:
    near = np.float32(0.1)  # above 0.1, which no float32 is
    assert float(near) > 0.1
    column = [float(near), float(np.nextafter(near, np.float32(0)))]
    (found,) = run(trees([(LEFT, RIGHT)], Link.IDENTITY), column, ["value"])
    assert found[:, 0].tolist() == [RIGHT, LEFT]


def test_strict_trees_send_a_threshold_right() -> None:
    table = trees([(LEFT, RIGHT)], Link.IDENTITY, strict=True)
    at = float(np.float32(tree_tables.up(0.1)))
    (found,) = run(table, [at, float(np.nextafter(np.float32(at), np.float32(0)))], ["value"])
    assert found[:, 0].tolist() == [RIGHT, LEFT]


def test_classes_have_a_label_and_probabilities() -> None:
    table = trees([(0.0, 1.0), (2.0, 0.0), (1.0, 3.0)], Link.SOFTMAX, classifies=True)
    label, probabilities = run(table, [0.0, 1.0], ["label", "probabilities"])
    assert label.tolist() == [1, 2]
    wanted = np.exp([[0, 2, 1], [1, 0, 3]])
    assert np.allclose(probabilities, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-6)


def test_two_classes_come_of_one_margin() -> None:
    label, probabilities = run(trees([(LEFT, RIGHT)], Link.SIGMOID, classifies=True), [0.0, 1.0], ["label", "p"])
    assert label.tolist() == [0, 1]
    one = 1 / (1 + np.exp(-np.array([LEFT, RIGHT])))
    assert np.allclose(probabilities, np.stack([1 - one, one], axis=1), rtol=1e-6)


def test_no_tree_is_the_base_alone() -> None:
    table = Ensemble((), 1, (0.5,), Link.IDENTITY, classifies=False)
    assert run(table, [3.0], ["value"])[0].tolist() == [[0.5]]
