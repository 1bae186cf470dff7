"""TFLite files of estimators' graphs, run by the device's engine beside ONNX Runtime: LiteRT, or `tflite-runtime`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from edgemm.bundle.manifest import DType, Precision, Signature, TensorSpec, Variant, VariantTensor  # noqa: E402
from edgemm.errors import ConversionError  # noqa: E402
from edgemm_converter.estimators import ensemble_graph, tree_tables  # noqa: E402 - needs them
from edgemm_converter.estimators.lite import lite_file, tree_walk  # noqa: E402 - likewise
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode  # noqa: E402
from edgemm_runtime import engines  # noqa: E402

Arrays = dict[str, Any]
node = onnx.helper.make_node
ML = ensemble_graph.ML_DOMAIN


def graph_file(nodes: Sequence[Any], columns: int, outputs: Sequence[str], constants: Arrays | None = None) -> bytes:
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", columns])
    held = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = onnx.helper.make_graph(nodes, "g", [given], [onnx.ValueInfoProto(name=name) for name in outputs], held)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(ML, 3)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def trees_file(table: Ensemble, outputs: Sequence[str] = ("value",)) -> bytes:
    return graph_file(ensemble_graph.nodes(tree_tables.rounded(table), "x", outputs), table.features, outputs)


def by_onnx(file: bytes, rows: Any) -> Arrays:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": rows}), strict=True))


def by_tflite(file: bytes, rows: Any, like: Arrays) -> Arrays:
    """Run a file as a device does, a batch at a time."""
    made = lite_file.made(file)
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, rows.shape[1]))
    outputs = tuple(
        TensorSpec(name=name, dtype=DType(array.dtype.name), shape=(-1, *array.shape[1:]))
        for name, array in like.items()
    )

    def sides(specs: tuple[TensorSpec, ...]) -> tuple[VariantTensor, ...]:
        return tuple(VariantTensor(name=s.name, tensor=s.name, dtype=s.dtype, shape=(1, *s.shape[1:])) for s in specs)

    variant = Variant(
        id="tflite:float32", engine="tflite", precision=Precision.FLOAT32, minimum_engine="", blob="0" * 64,
        inputs=sides((spec,)), outputs=sides(outputs),
    )  # fmt: skip
    found: Arrays = engines.load(variant, Signature(inputs=(spec,), outputs=outputs), made.data).run({"x": rows})
    return found


def both(file: bytes, rows: Any) -> tuple[Arrays, Arrays]:
    wanted = by_onnx(file, rows)
    return wanted, by_tflite(file, rows, wanted)


def grown(rng: np.random.Generator, depth: int, *, targets: int, missing: bool) -> tuple[TreeNode, ...]:
    """Return a random tree, whose leaves are whole numbers, so that sums are exact in any order."""
    nodes: list[TreeNode | None] = [None]
    waiting = [(0, 0)]
    while waiting:
        place, level = waiting.pop()
        if level == depth or (level and rng.random() < 0.2):
            nodes[place] = TreeNode(LEAF, values=tuple(map(float, rng.integers(-99, 99, targets))))
            continue
        left = len(nodes)
        nodes += [None, None]
        waiting += [(left, level + 1), (left + 1, level + 1)]
        threshold = float(rng.choice([0.0, -0.0, 0.1, rng.normal(), rng.normal() * 1e30]))
        nodes[place] = TreeNode(
            int(rng.integers(3)), threshold, left, left + 1, missing_left=missing and bool(rng.random() < 0.5)
        )
    return tuple(found for found in nodes if found is not None)


def forest(*, strict: bool, missing: bool, wide: int = 1, targets: int = 1, count: int = 6) -> Ensemble:
    """Return trees of different depths; `wide` is how many targets each leaf adds to."""
    rng = np.random.default_rng(3)
    trees = tuple(
        Tree(grown(rng, 1 + i, targets=wide, missing=missing), i % targets if wide == 1 else 0) for i in range(count)
    )
    return Ensemble(trees, 3, (0.5,) * targets, Link.IDENTITY, classifies=False, strict=strict)


def hard_rows(table: Ensemble) -> Any:
    usual = np.random.default_rng(5).standard_normal((40, 3)).astype(np.float32)
    odd = np.array([[np.nan, 0, 0], [0, np.nan, 1], [np.nan] * 3, [np.inf, -np.inf, 0], [-0.0, 0.0, -1e-45]])
    return np.concatenate([usual, odd.astype(np.float32), tree_tables.tie_rows(table, usual, limit=300)])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("wide", "targets", "count"), [(1, 1, 6), (3, 3, 4), (1, 3, 6), (1, 3, 7)])
def test_trees_answer_the_same_at_thresholds_and_for_missing_values(
    wide: int, targets: int, count: int, *, strict: bool, missing: bool
) -> None:
    table = forest(strict=strict, missing=missing, wide=wide, targets=targets, count=count)
    wanted, found = both(trees_file(table), hard_rows(table))
    assert np.array_equal(wanted["value"], found["value"])


@pytest.mark.parametrize("link", [link for link in Link if link is not Link.SOFTMAX])
def test_a_link_makes_the_same_answer(link: Link) -> None:
    trees = (Tree((TreeNode(0, 0.1, 1, 2), TreeNode(LEAF, values=(-1.5,)), TreeNode(LEAF, values=(30.0,)))),)
    table = Ensemble(trees, 1, (0.25,), link, classifies=False)
    wanted, found = both(trees_file(table), np.array([[0.0], [1.0], [np.nan]], np.float32))
    assert np.allclose(wanted["value"], found["value"], rtol=1e-6)


@pytest.mark.parametrize("targets", [1, 3])
def test_classes_have_a_label_and_probabilities(targets: int) -> None:
    table = forest(strict=False, missing=True, targets=targets)
    link = Link.SIGMOID if targets == 1 else Link.SOFTMAX
    table = Ensemble(table.trees, 3, table.base, link, classifies=True, scale=0.01)
    wanted, found = both(trees_file(table, ["label", "probabilities"]), hard_rows(table))
    assert np.array_equal(wanted["label"], found["label"])
    assert found["label"].dtype == np.int64
    assert np.allclose(wanted["probabilities"], found["probabilities"], atol=1e-6)


@pytest.mark.parametrize("trees", [(), (Tree((TreeNode(LEAF, values=(2.0,)),)),) * 2])
def test_trees_that_ask_nothing_answer_all_the_same(trees: tuple[Tree, ...]) -> None:
    wanted, found = both(trees_file(Ensemble(trees, 2, (0.5,), Link.IDENTITY, classifies=False)), np.ones((3, 2), "f4"))
    assert np.array_equal(wanted["value"], found["value"])


def chain(levels: int) -> Ensemble:
    """Return a tree with a leaf at each level, one deeper at a time."""
    nodes = []
    for level in range(levels):
        nodes += [TreeNode(0, float(level), 2 * level + 1, 2 * level + 2), TreeNode(LEAF, values=(float(level),))]
    nodes.append(TreeNode(LEAF, values=(-1.0,)))
    return Ensemble((Tree(tuple(nodes)),), 1, (0.0,), Link.IDENTITY, classifies=False)


def test_a_tree_of_sixty_levels_is_walked_to_its_end() -> None:
    rows = np.arange(-1, 62, 0.5, dtype=np.float32)[:, np.newaxis]
    wanted, found = both(trees_file(chain(60)), rows)
    assert np.array_equal(wanted["value"], found["value"])


def test_what_is_not_small_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConversionError, match="TFLite: its trees have more than 100 levels; ONNX alone"):
        lite_file.made(trees_file(chain(101)))
    monkeypatch.setattr(tree_walk, "MOST_NODES", 100)
    with pytest.raises(ConversionError, match="its trees have 121 nodes, and up to 100 are a small ensemble"):
        lite_file.made(trees_file(chain(60)))


SCALER = node("Scaler", ["x"], ["scaled"], domain=ML, offset=[1.0, -2.0, 0.0], scale=[0.5, 2.0, 1.0])
ROWS = (np.random.default_rng(0).standard_normal((30, 3)) * 2).astype(np.float32)


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


def opened(file: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(lite_file.made(file).data, 0)


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


def test_files_are_first_versions_of_builtins_and_the_same_each_time() -> None:
    file = trees_file(forest(strict=False, missing=True, targets=3))
    codes = opened(file).operatorCodes
    assert {(one.version, one.customCode) for one in codes} == {(1, None)}
    assert lite_file.made(file) == lite_file.made(file)
