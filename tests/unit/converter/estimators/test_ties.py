"""Rows at the thresholds of trees behind other steps: on either side of the place where the way changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgemm_converter.estimators import ties
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode

Floats = npt.NDArray[np.float64]
MEAN, SCALE = np.array([0.1, -7.3]), np.array([3.7, 0.003])


def trees(*thresholds: float, strict: bool = False, single: bool = False) -> Ensemble:
    made = tuple(
        Tree((TreeNode(i % 2, t, 1, 2), TreeNode(LEAF, values=(0.0,)), TreeNode(LEAF, values=(1.0,))))
        for i, t in enumerate(thresholds)
    )
    return Ensemble(made, 2, (0.0,), Link.IDENTITY, classifies=False, strict=strict, single=single)


def scaled(rows: npt.NDArray[np.float32], _which: npt.NDArray[np.int64]) -> Floats:
    return np.asarray((rows.astype(np.float64) - MEAN) / SCALE)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_rows_lie_next_to_each_other_on_two_sides(strict: bool, single: bool) -> None:
    given = trees(0.25, -1.5, 0.0, 12345.678, strict=strict, single=single)
    usual = np.zeros((3, 2), np.float32)
    rows, which = ties.behind(given, scaled, usual, limit=20)
    assert len(rows) == len(which) == 8
    for place, tree in enumerate(given.trees):
        node = tree.nodes[0]
        low, high = rows[2 * place : 2 * place + 2, node.feature]
        assert np.nextafter(low, np.float32(np.inf)) == high
        below, above = scaled(rows[2 * place : 2 * place + 2], which)[:, node.feature]
        if single:
            below, above = float(np.float32(below)), float(np.float32(above))
        assert (below < node.threshold, above < node.threshold) == (True, False) or not strict
        assert (below <= node.threshold, above <= node.threshold) == (True, False) or strict


def test_a_feature_of_several_columns_has_no_rows() -> None:
    def mixed(rows: npt.NDArray[np.float32], _which: npt.NDArray[np.int64]) -> Floats:
        both = rows.sum(axis=1, keepdims=True).astype(np.float64)
        return np.concatenate([both, both * 2], axis=1)

    rows, which = ties.behind(trees(0.5, 0.5), mixed, np.zeros((2, 2), np.float32), limit=8)
    assert (len(rows), len(which)) == (0, 0)
