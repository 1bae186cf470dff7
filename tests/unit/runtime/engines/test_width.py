"""One CPU thread or several: what is quicker now is what is used, whatever it was before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgemm_runtime.engines.width import TRIALS, Width

Times = Callable[[bool], float]


def run(width: Width, times: Times, count: int) -> list[bool]:
    """Return what was chosen for so many inferences that took `times(wide)`."""
    chosen = []
    for _ in range(count):
        wide = width.wide()
        chosen.append(wide)
        width.tell(times(wide), wide=wide)
    return chosen


def share_wide(chosen: list[bool]) -> float:
    return sum(chosen) / len(chosen)


@pytest.mark.parametrize(("wide_us", "expected"), [(50.0, 1.0), (95.0, 0.0), (200.0, 0.0)])
def test_the_quicker_way_is_taken_from_the_end_of_the_trials(wide_us: float, expected: float) -> None:
    width = Width()
    trials = run(width, lambda wide: wide_us if wide else 100.0, TRIALS)
    assert sum(trials) == TRIALS // 2, "both ways are tried equally often"
    chosen = run(width, lambda wide: wide_us if wide else 100.0, 5000)
    assert share_wide(chosen) == pytest.approx(expected, abs=0.0099), "the other way stays below the 99th percentile"


def test_the_first_slow_inferences_decide_nothing() -> None:
    width, left = Width(), [True] * 2
    run(width, lambda wide: 5000.0 if wide and left and left.pop() else (50.0 if wide else 100.0), TRIALS)
    assert share_wide(run(width, lambda wide: 50.0 if wide else 100.0, 500)) > 0.9


def test_when_other_programs_want_the_cpus_it_goes_back_to_one_thread_and_returns_later() -> None:
    width = Width()
    run(width, lambda wide: 50.0 if wide else 100.0, TRIALS + 100)
    assert share_wide(run(width, lambda wide: 400.0 if wide else 130.0, 1000)[100:]) < 0.02
    assert share_wide(run(width, lambda wide: 50.0 if wide else 100.0, 20_000)[10_000:]) > 0.98


def test_threads_that_are_asleep_are_given_time_to_wake() -> None:
    width, last = Width(), [False]

    def times(wide: bool) -> float:
        woken, last[0] = wide and not last[0], wide
        return 300.0 if woken else (50.0 if wide else 100.0)

    run(width, lambda wide: 120.0 if wide else 100.0, TRIALS)
    assert share_wide(run(width, times, 20_000)[10_000:]) > 0.98


def test_one_long_interruption_changes_nothing() -> None:
    width = Width()
    run(width, lambda wide: 50.0 if wide else 100.0, TRIALS + 100)
    run(width, lambda _wide: 50_000.0, 1)
    assert share_wide(run(width, lambda wide: 50.0 if wide else 100.0, 200)) > 0.97
