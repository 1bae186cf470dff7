"""Rows at the thresholds of trees that stand behind other steps: found by asking those steps. Pure.

A step such as a scaler makes another number of a column. Between two neighbouring float32 numbers of the column a row
changes its way; that place is found by halving, for many thresholds at once, with the steps' own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgemm_converter.estimators import tree_tables
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, TreeNode

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Steps = Callable[[Rows, npt.NDArray[np.int64]], Floats]
"""What steps make [rows, features] of the numbers [rows, columns] of rows, which are else those at some places."""

_HALVINGS, _MOST_ASKED = 33, 256
_FAR = np.float32(1e30)


def behind(trees: Ensemble, steps: Steps, usual: Rows, *, limit: int) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Return rows [rows, columns] on either side of thresholds, and of which of the `usual` rows each is a copy."""
    places = np.arange(len(usual))
    made = steps(usual, places)
    inner = tree_tables.inner_nodes(trees, limit=max(1, limit // 2))
    asked: Sequence[int] = range(usual.shape[1])
    if len(asked) > _MOST_ASKED:  # of wide tables, those that stand where the features do
        asked = sorted({nodes[place].feature for nodes, place in inner} & set(asked))[:_MOST_ASKED]
    columns = _columns(steps, usual, made, asked)
    wanted: list[tuple[int, int, TreeNode]] = []
    for nodes, place in inner:
        node = nodes[place]
        if node.feature in columns:
            wanted.append((_reaching(nodes, place, made), columns[node.feature], node))
    if not wanted:
        return usual[:0], places[:0]
    which = np.array([row for row, _, _ in wanted])
    column = np.array([one for _, one, _ in wanted])
    feature = np.array([node.feature for _, _, node in wanted])
    threshold = np.array([node.threshold for _, _, node in wanted])
    each = np.arange(len(which))

    def left(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        rows = usual[which].copy()
        rows[each, column] = _number(keys)
        found = steps(rows, which)[each, feature]
        found = found.astype(np.float32).astype(np.float64) if trees.single else found
        side: npt.NDArray[np.bool_] = found < threshold if trees.strict else found <= threshold
        return side

    low, high = np.full(len(which), _key(-_FAR)), np.full(len(which), _key(_FAR))
    at_low, at_high = left(low), left(high)
    for _ in range(_HALVINGS):
        middle = (low + high) // 2
        like_low = left(middle) == at_low
        low, high = np.where(like_low, middle, low), np.where(like_low, high, middle)
    crossing = (at_low != at_high) & (high - low == 1)
    rows = np.repeat(usual[which[crossing]], 2, axis=0)
    keys = np.stack([low[crossing], high[crossing]], axis=1).ravel()
    rows[np.arange(len(rows)), np.repeat(column[crossing], 2)] = _number(keys)
    return rows, np.repeat(which[crossing], 2)


def _columns(steps: Steps, usual: Rows, made: Floats, asked: Sequence[int]) -> dict[int, int]:
    """Return the column that each feature is made of, of those that are made of one alone of some columns."""
    found: dict[int, set[int]] = {}
    places = np.arange(len(usual))
    for column in asked:
        other = usual.copy()
        other[:, column] = other[:, column] * np.float32(1.5) + np.float32(1)
        changed = steps(other, places) != made
        for feature in np.flatnonzero(changed.any(axis=0)):
            found.setdefault(int(feature), set()).add(column)
    return {feature: one for feature, (one, *others) in ((f, sorted(c)) for f, c in found.items()) if not others}


def _reaching(nodes: tuple[TreeNode, ...], place: int, made: Floats) -> int:
    """Return a row that reaches a node but for the feature that it looks at; the first where none does."""
    good = np.ones(len(made), bool)
    for node, goes_left in tree_tables.way(nodes, place):
        if node.feature not in (LEAF, nodes[place].feature):
            good &= (made[:, node.feature] <= node.threshold) == goes_left
    return int(np.argmax(good))


def _key(number: np.float32) -> np.int64:
    """Return the place of a float32 among all of them, in order."""
    bits = np.int64(np.float32(number).view(np.int32))
    return bits if bits >= 0 else np.int64(-(2**31)) - bits


def _number(keys: npt.NDArray[np.int64]) -> Rows:
    bits = np.where(keys >= 0, keys, -(2**31) - keys)
    return bits.astype(np.int32).view(np.float32)
