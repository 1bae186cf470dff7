"""Distributions: all that was noted in buckets, and the last half minute to minute apart."""

from __future__ import annotations

import pytest

from edgemm_fleet.instruments import Distribution, Lately


def test_buckets_count_what_is_up_to_their_bound() -> None:
    found = Distribution((0.1, 1.0))
    for value in (0.1, 0.5, 1.0, 7.0):
        found.note(value, now_s=0.0)
    buckets, total = found.buckets()
    assert buckets == [("0.1", 1.0), ("1.0", 3.0), ("+Inf", 4.0)]
    assert total == pytest.approx(8.6)


def test_what_was_noted_lately_is_forgotten_within_a_minute() -> None:
    found = Distribution((1.0,))
    found.note(2.0, now_s=100.0)
    found.note(4.0, now_s=110.0)
    assert found.recent(now_s=120.0) == Lately(2, 6.0, 4.0, 20.0)
    assert found.recent(now_s=120.0).mean == 3.0
    found.note(9.0, now_s=140.0)
    both = found.recent(now_s=145.0)
    assert (both.number, both.total, both.largest, both.span_s) == (3, 15.0, 9.0, 45.0)
    assert both.rate == pytest.approx(15.0 / 45.0)
    assert found.recent(now_s=175.0).number == 1
    assert found.recent(now_s=200.0) == Lately()
    found.note(1.0, now_s=500.0)
    assert found.recent(now_s=501.0).number == 1
