"""Trees in TFLite: all trees of an ensemble take one step down at a time, by look-ups in tables of their nodes.

A step is seven operations on vectors with one place a tree: the feature and the threshold of the node where the tree
is, the value of that feature, the comparison, and the node on either side. Leaves lead to themselves. So a row takes as
many steps as the deepest tree has levels, whatever the number of nodes, and comparisons are those of float32 numbers.

A missing value (NaN) is less than nothing and goes to the right. For nodes that send it to the left, the row stands a
second time before itself, with -inf in place of NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemm_converter.estimators.lite.flat_graph import FlatGraph, NoBuiltinsError, Value

MOST_NODES, MOST_LEVELS = 500_000, 100
"""What is small: about 10 MB of tables, and 700 operations."""

_MODES = {b"BRANCH_LEQ": "LESS_EQUAL", b"BRANCH_LT": "LESS"}
_LEAF = b"LEAF"
Integers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class NodeTables:
    """All nodes of all trees, leaves first: tables [nodes], and what each leaf adds.

    `values` are [leaves, targets], or [leaves] where each tree adds to one target, as many trees to each; `roots` are
    then in the order of their targets.
    """

    features: Integers
    thresholds: npt.NDArray[np.float32]
    lefts: Integers
    rights: Integers
    missing_left: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float32]
    roots: Integers
    levels: int
    comparison: str
    targets: int


def read(attributes: Mapping[str, Any], *, leaves: str, targets: int) -> NodeTables:
    """Return the tables of a tree ensemble of ai.onnx.ml; the attributes of its leaves begin with `leaves`.

    Raises:
        NoBuiltinsError: it is too large, or has nodes of another kind.
    """
    count = len(attributes["nodes_nodeids"])
    if count > MOST_NODES:
        raise NoBuiltinsError(f"its trees have {count:,} nodes, and up to {MOST_NODES:,} are a small ensemble")
    modes = set(attributes["nodes_modes"]) - {_LEAF}
    if len(modes) > 1 or not modes <= set(_MODES):
        raise NoBuiltinsError(f"its trees have nodes {', '.join(sorted(mode.decode() for mode in modes))}")
    given_leaf = np.array([mode == _LEAF for mode in attributes["nodes_modes"]], bool)
    order = np.argsort(~given_leaf, kind="stable")
    trees, places = (np.asarray(attributes[f"nodes_{name}"])[order] for name in ("treeids", "nodeids"))
    known = {key: number for number, key in enumerate(zip(trees.tolist(), places.tolist(), strict=True))}
    is_leaf, own = given_leaf[order], np.arange(count, dtype=np.int32)
    inner = own[~is_leaf].tolist()

    def children(name: str) -> Integers:
        found, wanted = own.copy(), np.asarray(attributes[f"nodes_{name}nodeids"])[order]
        found[inner] = [known[int(trees[i]), int(wanted[i])] for i in inner]
        return found

    def column(name: str, dtype: type) -> Any:
        return np.where(is_leaf, 0, np.asarray(attributes.get(name) or [0] * count)[order]).astype(dtype)

    lefts, rights = children("true"), children("false")
    is_root = np.ones(count, bool)
    is_root[lefts[~is_leaf]] = is_root[rights[~is_leaf]] = False
    values = np.zeros((int(is_leaf.sum()), targets), np.float32)
    ids = (attributes[f"{leaves}_{name}"] for name in ("treeids", "nodeids", "ids", "weights"))
    for tree, place, target, weight in zip(*ids, strict=True):
        values[known[tree, place], target] += np.float32(weight)
    values, roots = _by_target(values, own[is_root], trees)
    return NodeTables(
        features=column("nodes_featureids", np.int32),
        thresholds=column("nodes_values", np.float32),
        lefts=lefts,
        rights=rights,
        missing_left=column("nodes_missing_value_tracks_true", np.bool_),
        values=values,
        roots=roots,
        levels=_levels(lefts, rights, roots, is_leaf),
        comparison=_MODES[next(iter(modes), b"BRANCH_LEQ")],
        targets=targets,
    )


def _by_target(values: Any, roots: Integers, trees: Any) -> tuple[Any, Integers]:
    """Return one value a leaf where each tree adds to one target, as many trees to each; else the values as given."""
    targets = values.shape[1]
    used = (values != 0).any(axis=1)
    of_leaf = np.abs(values).argmax(axis=1)
    one = ((values != 0).sum(axis=1) <= 1).all()
    if targets == 1:
        return values[:, 0], roots
    of_tree: dict[int, set[int]] = {int(trees[root]): set() for root in roots}
    for leaf in np.flatnonzero(used):
        of_tree[int(trees[leaf])].add(int(of_leaf[leaf]))
    single = [next(iter(found), 0) for found in of_tree.values() if len(found) <= 1]
    counts = np.bincount(single, minlength=targets)
    if not one or len(single) < len(roots) or len(set(counts.tolist())) > 1:
        return values, roots
    return values.sum(axis=1, dtype=np.float32), roots[np.argsort(single, kind="stable")]


def _levels(lefts: Integers, rights: Integers, roots: Integers, is_leaf: npt.NDArray[np.bool_]) -> int:
    """Return how many steps the deepest tree takes.

    Raises:
        NoBuiltinsError: they are too many.
    """
    at, levels = roots, 0
    while (at := at[~is_leaf[at]]).size:
        at = np.concatenate([lefts[at], rights[at]])
        levels += 1
        if levels > MOST_LEVELS:
            raise NoBuiltinsError(f"its trees have more than {MOST_LEVELS} levels")
    return levels


def add(graph: FlatGraph, tables: NodeTables, row: Value) -> Value:
    """Add what computes the sums [1, targets] of the leaves that a row [1, columns] reaches.

    Raises:
        NoBuiltinsError: it cannot be computed.
    """
    columns = row.shape[-1]
    row, features = graph.shaped(row, (columns,)), tables.features
    if tables.missing_left.any():
        if tables.comparison == "LESS" and np.isneginf(tables.thresholds[tables.missing_left]).any():
            raise NoBuiltinsError("its trees have a threshold that nothing is less than")
        missing = graph.add("NOT_EQUAL", [row, row], dtype=bool)
        least = graph.constant(np.full(columns, -np.inf, np.float32))
        low = graph.add("SELECT", [missing, least, row], dtype=row.dtype)
        row = graph.add("CONCATENATION", [low, row], shape=(2 * columns,), axis=0)
        features = np.where(tables.missing_left, features, features + columns).astype(np.int32)
    at = graph.constant(tables.roots)
    of = [graph.constant(table) for table in (features, tables.thresholds, tables.lefts, tables.rights)]
    for _ in range(tables.levels):
        feature, threshold, left, right = (looked_up(graph, table, at) for table in of)
        goes_left = graph.add(tables.comparison, [looked_up(graph, row, feature), threshold], dtype=bool)
        at = graph.add("SELECT", [goes_left, left, right], dtype=np.int32)
    return _summed(graph, tables, looked_up(graph, graph.constant(tables.values), at))


def looked_up(graph: FlatGraph, table: Value, places: Value) -> Value:
    """Return the rows of a table [rows, …] at places [places]."""
    if table.constant is not None and places.constant is not None:
        return graph.constant(table.constant[places.constant])
    return graph.add("GATHER", [table, places], shape=(*places.shape, *table.shape[1:]), dtype=table.dtype, axis=0)


def _summed(graph: FlatGraph, tables: NodeTables, leaves: Value) -> Value:
    if len(tables.roots) == 1:
        return graph.shaped(leaves, (1, tables.targets))
    if leaves.shape == tables.roots.shape:
        leaves, axis = graph.shaped(leaves, (tables.targets, len(tables.roots) // tables.targets)), 1
    else:
        axis = 0
    if leaves.constant is not None:
        return graph.constant(leaves.constant.sum(axis=axis, dtype=np.float32).reshape(1, tables.targets))
    found = graph.add("SUM", [leaves, graph.constant(np.array([axis], np.int32))], shape=(tables.targets,))
    return graph.shaped(found, (1, tables.targets))
