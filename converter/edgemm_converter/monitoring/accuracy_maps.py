"""The three maps from counts of agreement to accuracy, fitted on windows of corrupted data. Pure.

* Isotonic regression by pooled adjacent violators (Barlow et al., 1972), at most `KNOTS` knots.
* Ridge regression, whose penalty has the smallest generalised cross-validation (Golub, Heath and Wahba, 1979).
* A table: in each cell, the share of rows that were right. It is additive: of a merge, the mean of the parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemm.monitoring.monitor_document import CELLS, HEADS, Map, Maps
from edgemm_converter.data.arrays import Array

KNOTS = 30
COMMITTEE = CELLS + HEADS
"""The place of the committee's rate among the shares of a window."""

_PENALTIES = np.logspace(-1, 4, 12)
_CLIP = 5.0


def fitted(shares: Array, accuracy: Array, cells: Array, right: Array, *, chosen: Map = Map.ISOTONIC) -> Maps:
    """Return the maps of windows (`shares` [windows, FEATURES], `accuracy`) and rows (`cells`, `right`)."""
    knots, values = isotonic(shares[:, COMMITTEE], accuracy)
    mean, scale, weights, intercept = ridge(shares, accuracy)
    counted = np.bincount(cells, minlength=CELLS)
    table = (np.bincount(cells, right, minlength=CELLS) + 0.25) / (counted + 0.5)
    return Maps(
        chosen=chosen,
        agreement=as_bytes(knots),
        accuracy=as_bytes(values),
        mean=as_bytes(mean),
        scale=as_bytes(scale),
        weights=as_bytes(weights),
        intercept=intercept,
        table=as_bytes(table),
    )


def isotonic(x: Array, y: Array, knots: int = KNOTS) -> tuple[Array, Array]:
    """Return the knots (x, y) of the rising function that is nearest to points by squares."""
    distinct, group, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(group, y) / counts
    starts, ends, values, weights = list[float](), list[float](), list[float](), list[float]()
    for place, value, count in zip(distinct.tolist(), means.tolist(), counts.tolist(), strict=True):
        start, mean, weight = place, value, float(count)
        while values and values[-1] >= mean:
            last = weights.pop()
            mean = (values.pop() * last + mean * weight) / (last + weight)
            weight, start = weight + last, starts.pop()
            ends.pop()
        starts.append(start)
        ends.append(place)
        values.append(mean)
        weights.append(weight)
    steps = [(at, value) for start, end, value in zip(starts, ends, values, strict=True) for at in {start, end}]
    places, heights = map(np.array, zip(*sorted(steps), strict=True))
    if len(places) <= knots:
        return places, heights
    spread = np.unique(np.quantile(x, np.linspace(0.0, 1.0, knots)))
    return spread, np.interp(spread, places, heights)


def ridge(x: Array, y: Array) -> tuple[Array, Array, Array, float]:
    """Return mean, scale, weights and intercept of a ridge regression on standardised shares, clipped at ±5."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale < 1e-6, 1.0, scale)
    clipped = np.clip((x - mean) / scale, -_CLIP, _CLIP)
    centre, level = clipped.mean(axis=0), float(y.mean())
    left, sizes, right = np.linalg.svd(clipped - centre, full_matrices=False)
    along = left.T @ (y - level)
    scores = [_cross_validation(left, sizes, along, y - level, penalty) for penalty in _PENALTIES]
    penalty = _PENALTIES[int(np.argmin(scores))]
    weights = right.T @ (sizes / (sizes**2 + penalty) * along)
    return mean, scale, weights, level - float(centre @ weights)


def as_bytes(numbers: Array | Sequence[float]) -> bytes:
    """Return numbers as a document holds them, float32."""
    return np.asarray(numbers, "<f4").tobytes()


def _cross_validation(left: Array, sizes: Array, along: Array, y: Array, penalty: float) -> float:
    kept = sizes**2 / (sizes**2 + penalty)
    residual = y - left @ (kept * along)
    return float((residual**2).mean() / (1 - (kept.sum() + 1) / len(y)) ** 2)
