"""The places of numbered points in a chart of size against a metric, in the units of its view box. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN, RADIUS = 400.0, 220.0, 24.0, 9.0


@dataclass(frozen=True)
class Measure:
    """A file's size in bytes and its metric, under a name; `earlier` for one of the bundle before."""

    name: str
    size: int
    metric: float
    earlier: bool = False


@dataclass(frozen=True)
class Point:
    """Where a measure is drawn, beside points that would cover it; and where it belongs."""

    number: int
    measure: Measure
    x: float
    y: float
    true_y: float


@dataclass(frozen=True)
class Scatter:
    """A chart: its points, the height of the source's metric, and what its edges stand for."""

    points: Sequence[Point]
    source_y: float
    smallest: int
    largest: int
    width: float = WIDTH
    height: float = HEIGHT
    margin: float = MARGIN
    radius: float = RADIUS


def scatter(measures: Sequence[Measure], *, source: float) -> Scatter | None:
    """Return the chart of at least two measures, sizes on a logarithmic scale; None of fewer."""
    finite = [m for m in measures if math.isfinite(m.metric) and m.size > 0]
    if len(finite) < 2 or not math.isfinite(source):
        return None
    sizes, values = [m.size for m in finite], [source, *(m.metric for m in finite)]
    low, high = min(values), max(values)
    pad = 0.1 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - pad, high + pad
    left, right = math.log(min(sizes)), math.log(max(sizes))

    def x(size: int) -> float:
        share = (math.log(size) - left) / (right - left) if right > left else 0.5
        return MARGIN + share * (WIDTH - 2 * MARGIN)

    def y(metric: float) -> float:
        return HEIGHT - 2 * MARGIN - (metric - low) / (high - low) * (HEIGHT - 4 * MARGIN)

    points: list[Point] = []
    for number, measure in enumerate(finite, start=1):
        place = (x(measure.size), y(measure.metric))
        points.append(Point(number, measure, place[0], _beside(*place, points), place[1]))
    return Scatter(points, y(source), min(sizes), max(sizes))


def _beside(x: float, y: float, drawn: Sequence[Point]) -> float:
    """Return the nearest height above that no drawn point covers."""
    while any(math.hypot(p.x - x, p.y - y) < 2 * RADIUS for p in drawn):
        y -= 1.0
    return y
