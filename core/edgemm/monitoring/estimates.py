"""The accuracy of a model on a window of requests without labels, of the counts of its agreement. Pure.

An interval covers shifts like those of the conversion's library. What changes the right answers and not the inputs,
concept drift, is invisible to whatever has no labels.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import pstdev

from edgemm.monitoring.agreement_counts import AgreementCounts
from edgemm.monitoring.monitor_document import CELLS, FEATURES, HEADS, Map, Maps, MonitorDocument, floats
from edgemm.open_enum import OpenEnum

LEAST_SAMPLES = 100
MOST_KNOWN_WIDTH = 0.06
_CLIP = 5.0
_COMMITTEE = CELLS + HEADS
"""The place of the committee's rate among the shares."""


class EstimateState(OpenEnum):
    """How much an estimate says."""

    KNOWN = "known"
    UNCERTAIN = "uncertain"
    """The interval is wide: ± more than 0.06."""
    OUT_OF_RANGE = "out-of-range"
    """The window is unlike all of the conversion's: there is no number, only that it is at most `high`."""
    INSUFFICIENT = "insufficient"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Estimate:
    """An accuracy (0 to 1) with its 95 % interval, None where there is no number to show."""

    state: EstimateState
    samples: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


def estimate(document: MonitorDocument, counts: AgreementCounts, *, beyond: bool = False) -> Estimate:
    """Return what counts say of the accuracy; `beyond` tells that an input's mean is outside all of the conversion."""
    if not document.supported:
        return Estimate(EstimateState.UNSUPPORTED, counts.samples)
    if counts.samples < LEAST_SAMPLES:
        return Estimate(EstimateState.INSUFFICIENT, counts.samples)
    if document.maps.chosen not in Map.__members__.values():
        return Estimate(EstimateState.UNSUPPORTED, counts.samples)
    shares = counts.shares()
    by_map = answers(document.maps, shares)
    accuracy = by_map[document.maps.chosen]
    spread, distance = pstdev(by_map.values()), _distance(document, shares)
    width = half_width(document, accuracy, spread=spread, distance=distance, samples=counts.samples)
    low, high = max(0.0, accuracy - width), min(1.0, accuracy + width)
    interval = document.interval
    if beyond or distance > interval.most_distance or spread > interval.most_spread:
        return Estimate(EstimateState.OUT_OF_RANGE, counts.samples, high=high)
    state = EstimateState.KNOWN if width <= MOST_KNOWN_WIDTH else EstimateState.UNCERTAIN
    return Estimate(state, counts.samples, accuracy, low, high)


def answers(maps: Maps, shares: Sequence[float]) -> dict[Map, float]:
    """Return the accuracy by each map."""
    mean, scale, weights = floats(maps.mean), floats(maps.scale), floats(maps.weights)
    ridge = maps.intercept
    for x, m, s, w in zip(shares, mean, scale, weights, strict=True):
        ridge += min(_CLIP, max(-_CLIP, (x - m) / s)) * w
    table = math.fsum(share * right for share, right in zip(shares, floats(maps.table), strict=False))
    found = {
        Map.ISOTONIC: _between(floats(maps.agreement), floats(maps.accuracy), shares[_COMMITTEE]),
        Map.RIDGE: ridge,
        Map.TABLE: table,
    }
    return {one: min(1.0, max(0.0, accuracy)) for one, accuracy in found.items()}


def half_width(document: MonitorDocument, accuracy: float, *, spread: float, distance: float, samples: int) -> float:
    """Return half the width of the 95 % interval, as `Interval` has it."""
    loss = min(1.0, max(0.0, document.clean_accuracy - accuracy))
    terms = (0.01, loss / 10, spread, distance / 10, math.sqrt(max(accuracy * (1 - accuracy), 0.01) / samples))
    weighed = sum(w * t for w, t in zip(document.interval.weights, terms, strict=True))
    return max(0.0, document.interval.quantile * weighed)


def _distance(document: MonitorDocument, shares: Sequence[float]) -> float:
    """Return the root of the mean square distance to the nearest landmark, in units of each share's scale."""
    scale, landmarks = floats(document.interval.scale), floats(document.interval.landmarks)
    scaled = [x / s for x, s in zip(shares, scale, strict=True)]
    nearest = min(
        sum((x - y) ** 2 for x, y in zip(scaled, landmarks[at : at + FEATURES], strict=True))
        for at in range(0, len(landmarks), FEATURES)
    )
    return math.sqrt(nearest / FEATURES)


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return y at x by straight lines between knots, the ends beyond them."""
    at = bisect_right(xs, x)
    if at == 0 or at == len(xs):
        return ys[max(0, at - 1)]
    x0, x1 = xs[at - 1], xs[at]
    return ys[at - 1] + (ys[at] - ys[at - 1]) * (x - x0) / (x1 - x0)
