"""The search for the first value of a source graph that a converted file does not compute. Pure.

Converters rename, reorder and fuse operations, so a value is recognised by its size and its distribution. A value that
the file lacks was folded away if the file has a value that is computed from it. Otherwise the file is wrong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors import comparison

_POINTS = 64
_LEAST_SIZE = 2


@dataclass(frozen=True)
class Node:
    """One value of the source: its name, and the names of the values that it is computed from."""

    name: str
    inputs: tuple[str, ...]


def fingerprint(values: Array) -> Array | None:
    """Return what stays of values in another order: points of their distribution; None where they tell nothing."""
    if values.dtype.kind != "f" or values.size < _LEAST_SIZE or not np.isfinite(values).all():
        return None
    ordered = np.sort(values.astype(np.float64), axis=None)
    if ordered[0] == ordered[-1]:
        return None
    points: Array = ordered[np.linspace(0, ordered.size - 1, _POINTS).round().astype(int)]
    return points


def first_parting(
    nodes: Sequence[Node], source: Mapping[str, Array], found: Iterable[Array], *, limit: float
) -> str | None:
    """Return the name of the first value of the source that a file lost, None where it has all that matter.

    `nodes` stand in an order in which they can be computed; `source` holds their values and `found` all that the file
    computes, on the same inputs; `limit` is a share of a value's scale.
    """
    theirs: dict[int, list[Array]] = {}
    for values in found:
        if (points := fingerprint(values)) is not None:
            theirs.setdefault(values.size, []).append(points)
    there = {node.name: _is_there(source.get(node.name), theirs, limit=limit) for node in nodes}
    alive: set[str] = set()
    for node in reversed(nodes):
        if there[node.name] or node.name in alive:
            alive.update((node.name, *node.inputs))
    return next((n.name for n in nodes if there[n.name] is False and n.name not in alive), None)


def _is_there(values: Array | None, theirs: Mapping[int, list[Array]], *, limit: float) -> bool | None:
    """Tell whether a value was found; None where it cannot be told."""
    points = fingerprint(values) if values is not None else None
    if values is None or points is None:
        return None
    allowed = limit * comparison.scale(values)
    return any(comparison.largest_error(points, other) <= allowed for other in theirs.get(values.size, ()))
