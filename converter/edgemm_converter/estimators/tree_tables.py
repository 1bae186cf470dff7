"""Ensembles of trees as tables, and their thresholds in single precision. Pure.

    rounded(ensemble)      # every threshold is a float32, and each float32 row takes the way that it took

A tree sends a row to the left where `x ≤ threshold`, or `x < threshold`, and a missing value (NaN) where the node says.
The sum of the leaves that a row reaches, by target, and a base is the margin; a link makes the answer of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAF = -1
"""In the place of a feature: the node is a leaf."""


class Link(StrEnum):
    """How the answer is made of the margins [rows, targets]."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    EXP = "exp"
    LOG1P_EXP = "log1p-exp"
    SIGNED_SQUARE = "signed-square"
    SIGN = "sign"
    """1 where the margin is above 0, else 0."""


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One node; a leaf has the feature `LEAF` and values, any other two children by their places in the tree."""

    feature: int
    threshold: float = 0.0
    left: int = 0
    right: int = 0
    missing_left: bool = False
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Tree:
    """The nodes of one tree, its root first, and the target that the first value of its leaves adds to."""

    nodes: tuple[TreeNode, ...]
    target: int = 0


@dataclass(frozen=True)
class Ensemble:
    """Trees over `features` columns; `strict` where a row goes left by `x < threshold`."""

    trees: tuple[Tree, ...]
    features: int
    base: tuple[float, ...]
    link: Link
    classifies: bool
    strict: bool = False
    scale: float = 1.0
    """By what margins are multiplied before the link."""

    single: bool = False
    """Whether the source itself compares in single precision, whatever it is given."""

    @property
    def targets(self) -> int:
        """How many margins there are."""
        return len(self.base)


def rounded(ensemble: Ensemble) -> Ensemble:
    """Return an ensemble whose thresholds are numbers of float32, for rows of float32: no row goes another way."""
    toward = up if ensemble.strict else down
    trees = tuple(
        replace(
            tree,
            nodes=tuple(
                node if node.feature == LEAF else replace(node, threshold=toward(node.threshold)) for node in tree.nodes
            ),
        )
        for tree in ensemble.trees
    )
    return replace(ensemble, trees=trees)


def down(threshold: float) -> float:
    """Return the greatest float32 that is ≤ a threshold: `x ≤` either of them is the same for every float32 x."""
    if not np.isfinite(threshold):
        return float(threshold)
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def up(threshold: float) -> float:
    """Return the least float32 that is ≥ a threshold: `x <` either of them is the same for every float32 x."""
    return -down(-threshold)


def tie_rows(ensemble: Ensemble, usual: npt.NDArray[np.float32], *, limit: int) -> npt.NDArray[np.float32]:
    """Return rows [rows, features] that reach nodes exactly at a threshold, and on either side of it.

    `usual` are rows [rows, features] of values that features have otherwise. There are three rows of each node: the
    greatest float32 ≤ its threshold, and the next ones up and down.
    """
    made: list[npt.NDArray[np.float32]] = []
    for count, (nodes, place) in enumerate(inner_nodes(ensemble, limit=max(1, limit // 3))):
        row = usual[count % len(usual)].astype(np.float32).copy()
        for node, left in way(nodes, place):
            row[node.feature] = _on_side(float(row[node.feature]), node.threshold, left=left)
        at = np.float32(down(nodes[place].threshold))
        for value in around(at):
            tied = row.copy()
            tied[nodes[place].feature] = value
            made.append(tied)
    return np.stack(made) if made else np.zeros((0, ensemble.features), np.float32)


def around(value: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """Return a value, the next float32 up and the next one down; above the largest is infinity."""
    with np.errstate(over="ignore"):
        return value, np.nextafter(value, np.float32(np.inf)), np.nextafter(value, np.float32(-np.inf))


def inner_nodes(ensemble: Ensemble, *, limit: int) -> list[tuple[tuple[TreeNode, ...], int]]:
    """Return at most `limit` nodes with a threshold, spread over all trees: the nodes of the tree, and the place."""
    inner = [
        (number, place)
        for number, tree in enumerate(ensemble.trees)
        for place, node in enumerate(tree.nodes)
        if node.feature != LEAF and np.isfinite(node.threshold)
    ]
    return [(ensemble.trees[number].nodes, place) for number, place in _spread(inner, limit=limit)]


def way(nodes: Sequence[TreeNode], place: int) -> list[tuple[TreeNode, bool]]:
    """Return the nodes from the root to a place, and whether the way goes left at each."""
    parents = {
        child: (above, child == node.left)
        for above, node in enumerate(nodes)
        if node.feature != LEAF
        for child in (node.left, node.right)
    }
    found: list[tuple[TreeNode, bool]] = []
    while place in parents:
        place, left = parents[place]
        found.append((nodes[place], left))
    return found[::-1]


def _on_side(value: float, threshold: float, *, left: bool) -> float:
    """Return a value that goes to the wanted side, the one that there is if it does; past infinity, a missing one."""
    if np.isposinf(threshold) and not left:
        return float("nan")
    if left:
        return value if value < threshold else float(np.nextafter(np.float32(down(threshold)), np.float32(-np.inf)))
    return value if value > threshold else float(np.nextafter(np.float32(up(threshold)), np.float32(np.inf)))


def _spread(places: Sequence[tuple[int, int]], *, limit: int) -> list[tuple[int, int]]:
    if not places:
        return []
    chosen = np.unique(np.linspace(0, len(places) - 1, num=min(limit, len(places))).round().astype(int))
    return [places[int(i)] for i in chosen]
