"""The chart of size against a metric."""

from __future__ import annotations

import itertools
import math

import pytest

from edgemm_converter.report import scatter
from edgemm_converter.report.scatter import Measure


def test_larger_is_further_right_and_better_is_higher() -> None:
    found = scatter.scatter([Measure("a", 1000, 0.5), Measure("b", 10_000, 0.9)], source=0.9)
    assert found is not None
    a, b = found.points
    assert a.x == scatter.MARGIN
    assert b.x == scatter.WIDTH - scatter.MARGIN
    assert b.y == found.source_y < a.y


@pytest.mark.parametrize("count", [2, 5, 32])
def test_no_point_covers_another_and_all_are_inside(count: int) -> None:
    found = scatter.scatter([Measure(str(i), 1000 + i % 2, 0.9) for i in range(count)], source=0.9)
    assert found is not None
    assert [p.number for p in found.points] == list(range(1, count + 1))
    for one, other in itertools.combinations(found.points, 2):
        assert math.hypot(one.x - other.x, one.y - other.y) >= 2 * scatter.RADIUS
    assert all(0 <= p.x <= scatter.WIDTH for p in found.points)


def test_there_is_no_chart_of_nothing() -> None:
    measures = [Measure("a", 1000, 0.5), Measure("b", 10_000, math.nan)]
    assert scatter.scatter(measures, source=0.5) is None
    assert scatter.scatter([*measures, Measure("c", 1, 0.5)], source=math.inf) is None
