"""Ensembles as tables: thresholds in single precision, and rows that lie at them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm_converter.children.protocol import SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.estimators import hard_rows, tree_tables
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode

THRESHOLDS = st.floats(allow_nan=False, width=64)
NUMBERS = st.floats(allow_nan=False, width=32)


def leaf(value: float) -> TreeNode:
    return TreeNode(LEAF, values=(value,))


def stump(threshold: float, *, strict: bool = False, missing_left: bool = False) -> Ensemble:
    nodes = (TreeNode(0, threshold, 1, 2, missing_left), leaf(1.0), leaf(2.0))
    return Ensemble((Tree(nodes),), 1, (0.0,), Link.IDENTITY, classifies=False, strict=strict)


@given(THRESHOLDS, NUMBERS)
def test_no_float32_goes_another_way(threshold: float, x: float) -> None:
    assert (x <= tree_tables.down(threshold)) == (x <= threshold)
    assert (x < tree_tables.up(threshold)) == (x < threshold)


@given(THRESHOLDS)
def test_neighbours_of_a_threshold_go_where_they_went(threshold: float) -> None:
    at = np.float32(tree_tables.down(threshold))
    for x in tree_tables.around(at):
        assert (float(x) <= float(at)) == (float(x) <= threshold)


@pytest.mark.parametrize("threshold", [math.inf, -math.inf, 1e300, -1e300, 0.1, -0.1, 5e-324, -5e-324, 0.0])
def test_thresholds_at_the_ends(threshold: float) -> None:
    ((node, *_),) = (tree.nodes for tree in tree_tables.rounded(stump(threshold)).trees)
    assert float(np.float32(node.threshold)) == node.threshold
    most = float(np.finfo(np.float32).max)
    for x in (-math.inf, -most, -1.0, -0.0, 0.0, 1.0, most, math.inf):
        assert (x <= node.threshold) == (x <= threshold)


def chain(depth: int) -> Ensemble:
    """A tree that is one long branch: each inner node has a leaf on its left."""
    nodes = []
    for place in range(depth):
        nodes += [TreeNode(place % 3, 1.0 + place / 10, 2 * place + 1, 2 * place + 2), leaf(float(place))]
    return Ensemble((Tree((*nodes, leaf(-1.0))),), 3, (0.0,), Link.IDENTITY, classifies=False)


@pytest.mark.parametrize("depth", [1, 4, 60])
def test_a_row_of_a_tie_reaches_its_node(depth: int) -> None:
    trees = chain(depth)
    rows = tree_tables.tie_rows(trees, np.zeros((1, 3), np.float32), limit=3 * depth)
    assert rows.shape == (3 * depth, 3)
    for place in range(depth):
        at, above, below = rows[3 * place : 3 * place + 3]
        assert [walked(trees, row) for row in (at, below)] == [place] * 2
        assert walked(trees, above) != place


def walked(trees: Ensemble, row: npt.NDArray[np.float32]) -> float:
    nodes, place = trees.trees[0].nodes, 0
    while nodes[place].feature != LEAF:
        node = nodes[place]
        place = node.left if float(row[node.feature]) <= node.threshold else node.right
    return nodes[place].values[0]


def test_hard_rows_stand_behind_edge_inputs() -> None:
    given_set = InputSet("edge", SetKind.EDGE, {"input": np.zeros((2, 1, 3), np.float32)}, 2, 2, names=("a", "b"),
                         families=("zeros", "zeros"))  # fmt: skip
    found = hard_rows.added(given_set, np.ones((5, 3), np.float32), chain(4))
    assert found.runs == found.samples == len(found.names) == len(found.families) == len(found.arrays["input"])
    assert found.families.count(hard_rows.TIES) == 12
    rows = found.arrays["input"][:, 0]
    missing = np.array([family == hard_rows.MISSING for family in found.families])
    assert np.isnan(rows[missing]).any(axis=1).all()
    assert not np.isnan(rows[~missing]).any()
    without = hard_rows.added(given_set, np.ones((5, 3), np.float32), None)
    assert hard_rows.TIES not in without.families
