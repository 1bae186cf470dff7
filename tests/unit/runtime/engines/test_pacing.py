"""Rests between the steps of loading."""

from __future__ import annotations

import pytest

from edgemm_runtime.engines.pacing import Rests


@pytest.mark.parametrize(("step_s", "expected_s"), [(0.001, 0.004), (0.0, 0.0), (1.0, 0.25)])
def test_a_rest_is_some_times_as_long_as_the_step_but_never_longer_than_the_most(
    step_s: float, expected_s: float
) -> None:
    clock = [10.0]
    slept: list[float] = []
    rest = Rests(ratio=4.0, most_s=0.25, now_s=lambda: clock[0], sleep=slept.append)
    clock[0] += step_s
    rest()
    assert slept == pytest.approx([expected_s])


def test_a_rest_is_no_part_of_the_next_step() -> None:
    clock = [0.0]

    def sleep(duration_s: float) -> None:
        clock[0] += duration_s

    rest = Rests(ratio=2.0, most_s=9.0, now_s=lambda: clock[0], sleep=sleep)
    for step_s in (1.0, 1.0, 2.0):
        clock[0] += step_s
        rest()
    assert clock[0] == pytest.approx(4.0 + 2.0 * 4.0)
