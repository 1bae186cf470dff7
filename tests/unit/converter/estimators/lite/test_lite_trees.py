"""Trees of estimators as TFLite files, run by the device's engine: LiteRT, or `tflite-runtime`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from edgemm.errors import ConversionError  # noqa: E402
from edgemm_converter.estimators import ensemble_graph, tree_tables  # noqa: E402 - needs them
from edgemm_converter.estimators.lite import lite_file, tree_walk  # noqa: E402 - likewise
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode  # noqa: E402
from simulators.lite_answers import both, graph_file, opened  # noqa: E402


def trees_file(table: Ensemble, outputs: Sequence[str] = ("value",)) -> bytes:
    return graph_file(ensemble_graph.nodes(tree_tables.rounded(table), "x", outputs), table.features, outputs)


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


def test_files_are_first_versions_of_builtins_and_the_same_each_time() -> None:
    file = trees_file(forest(strict=False, missing=True, targets=3))
    codes = opened(file).operatorCodes
    assert {(one.version, one.customCode) for one in codes} == {(1, None)}
    assert lite_file.made(file) == lite_file.made(file)
