"""Steps of estimators' graphs as TFLite files, run by the device's engine: LiteRT, or `tflite-runtime`."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from edgemm.errors import ConversionError  # noqa: E402
from edgemm_converter.estimators.lite import lite_file  # noqa: E402 - needs them
from simulators.lite_answers import ML, ROWS, both, graph_file, node, opened  # noqa: E402

SCALER = node("Scaler", ["x"], ["scaled"], domain=ML, offset=[1.0, -2.0, 0.0], scale=[0.5, 2.0, 1.0])


@pytest.mark.parametrize("link", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("named", [False, True])
def test_a_linear_classifier_gives_the_places_of_its_classes(link: str, *, named: bool) -> None:
    classes = {"classlabels_strings": ["low", "mid", "high"]} if named else {"classlabels_ints": [7, -2, 5]}
    keys = {"keys_strings": ["high", "low", "mid"]} if named else {"keys_int64s": [-2, 5, 7]}
    nodes = [
        SCALER,
        node("LinearClassifier", ["scaled"], ["class", "scores"], domain=ML, post_transform=link, **classes,
             coefficients=[1.0, 0, 2, -1, 3, 0.5, 0, -1, 1], intercepts=[0.1, -0.2, 0.3]),
        node("LabelEncoder", ["class"], ["label"], domain=ML, values_int64s=[0, 1, 2], default_int64=-1, **keys),
        node("Normalizer", ["scores"], ["probabilities"], domain=ML, norm="L1"),
    ]  # fmt: skip
    outputs = ["label", "scores" if link == "NONE" else "probabilities"]
    wanted, found = both(graph_file(nodes, 3, outputs), ROWS[:1])
    for row in ROWS:
        wanted, found = both(graph_file(nodes, 3, outputs), row[np.newaxis])
        assert wanted["label"] == found["label"]
        assert np.allclose(wanted[outputs[1]], found[outputs[1]], atol=1e-6)


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid"])
def test_a_perceptron_has_layers_with_their_biases(activation: str) -> None:
    rng = np.random.default_rng(1)
    shapes = {"w1": (3, 8), "b1": (1, 8), "w2": (8, 4), "b2": (4,)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        SCALER, node("MatMul", ["scaled", "w1"], ["m1"]), node("Add", ["m1", "b1"], ["a1"]),
        node(activation, ["a1"], ["h"]), node("MatMul", ["h", "w2"], ["m2"]), node("Add", ["b2", "m2"], ["a2"]),
        node("Softmax", ["a2"], ["probabilities"], axis=1), node("ArgMax", ["a2"], ["label"], axis=1, keepdims=0),
    ]  # fmt: skip
    file = graph_file(nodes, 3, ["label", "probabilities"], constants)
    wanted, found = both(file, ROWS)
    assert np.array_equal(wanted["label"], found["label"])
    assert np.allclose(wanted["probabilities"], found["probabilities"], atol=1e-6)
    assert not lite_file.made(file).compares
    kinds = [one.builtinCode for one in opened(file).operatorCodes]
    assert schema.BuiltinOperator.ADD not in kinds  # they are the layers' own


KERNELS = {"LINEAR": [0.0] * 3, "RBF": [0.3, 0, 0], "POLY": [0.4, 1.0, 3], "SIGMOID": [0.1, 0.2, 0]}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("counts", [(4, 3), (3, 2, 4)])
def test_a_support_vector_machine_votes_by_pairs(kernel: str, counts: tuple[int, ...]) -> None:
    rng, total, pairs = np.random.default_rng(2), sum(counts), len(counts) * (len(counts) - 1) // 2
    machine = node(
        "SVMClassifier", ["x"], ["label", "scores"], domain=ML, kernel_type=kernel, kernel_params=KERNELS[kernel],
        classlabels_ints=[3, 7, 9][: len(counts)], vectors_per_class=counts, rho=rng.normal(size=pairs).tolist(),
        support_vectors=rng.normal(size=total * 3).tolist(),
        coefficients=rng.normal(size=total * (len(counts) - 1)).tolist(),
    )  # fmt: skip
    wanted, found = both(graph_file([machine], 3, ["label", "scores"]), ROWS)
    assert np.array_equal(wanted["label"], found["label"])
    assert len(set(found["label"].tolist())) > 1
    assert np.allclose(wanted["scores"], found["scores"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("one_class", [0, 1])
def test_a_support_vector_machine_answers_with_a_value(one_class: int) -> None:
    rng = np.random.default_rng(2)
    machine = node(
        "SVMRegressor", ["x"], ["value"], domain=ML, kernel_type="RBF", kernel_params=KERNELS["RBF"], n_supports=5,
        rho=[-0.1], support_vectors=rng.normal(size=15).tolist(), coefficients=rng.normal(size=5).tolist(),
        one_class=one_class,
    )  # fmt: skip
    wanted, found = both(graph_file([machine], 3, ["value"]), ROWS)
    assert np.allclose(wanted["value"], found["value"], atol=1e-6)


@pytest.mark.parametrize("weights", [[0.2, 0.9, 0.7], [-1.0, 0.5, 2.0]])
def test_one_score_of_two_classes_is_a_share_or_a_decision(weights: list[float]) -> None:
    trees = node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain=ML, classlabels_int64s=[4, 8],
        nodes_treeids=[0] * 5, nodes_nodeids=list(range(5)), nodes_featureids=[0, 1, 0, 0, 0],
        nodes_values=[0.1, -0.2, 0, 0, 0], nodes_modes=["BRANCH_LEQ"] * 2 + ["LEAF"] * 3,
        nodes_truenodeids=[1, 2, 0, 0, 0], nodes_falsenodeids=[4, 3, 0, 0, 0], class_treeids=[0] * 3,
        class_nodeids=[2, 3, 4], class_ids=[0] * 3, class_weights=weights, post_transform="NONE",
    )  # fmt: skip
    wanted, found = both(graph_file([trees], 3, ["label", "scores"]), ROWS)
    assert np.array_equal(wanted["label"], found["label"])
    assert len(set(found["label"].tolist())) == 2
    assert np.allclose(wanted["scores"], found["scores"], atol=1e-6)


def test_missing_values_are_imputed() -> None:
    nodes = [node("Imputer", ["x"], ["y"], domain=ML, imputed_value_floats=[5.0, 6, 7], replaced_value_float=np.nan)]
    rows = np.where(np.arange(90).reshape(30, 3) % 4 == 0, np.float32(np.nan), ROWS)
    wanted, found = both(graph_file(nodes, 3, ["y"]), rows)
    assert np.array_equal(wanted["y"], found["y"])


def test_a_layer_that_two_read_keeps_what_it_gives() -> None:
    constants = {"w": np.eye(3, dtype=np.float32), "b": np.ones(3, np.float32)}
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["a"]), node("Mul", ["a", "m"], ["y"])]
    wanted, found = both(graph_file(nodes, 3, ["y"], constants), ROWS)
    assert np.array_equal(wanted["y"], found["y"])


def test_what_no_builtin_computes_is_named() -> None:
    many = node("TopK", ["x", "k"], ["y", "i"])
    with pytest.raises(ConversionError, match="TFLite: TopK: no builtin operations for what it computes; ONNX alone"):
        lite_file.made(graph_file([many], 3, ["y"], {"k": np.array([2])}))
    double = [node("Cast", ["x"], ["d"], to=onnx.TensorProto.DOUBLE), node("Exp", ["d"], ["y"])]
    with pytest.raises(ConversionError, match="it computes in double precision, which no kernel of TFLite does"):
        lite_file.made(graph_file(double, 3, ["y"]))
