"""One event loop or several: what is chosen for a server of which each way's requests a second are known."""

from __future__ import annotations

from collections.abc import Callable

from edgemm_runtime.http.spread import WINDOW_S, LoopWindow, Spread, Way

Rates = Callable[[Way, float], float]


def run(rates: Rates, *, seconds: float, busy: float = 1.0, spread: Spread | None = None) -> list[Way]:
    """Return the way of each window of a server that answers `rates(way, now_s)` requests a second."""
    spread, ways = spread or Spread(), []
    for number in range(round(seconds / WINDOW_S)):
        ways.append(spread.way)
        per_s = rates(spread.way, number * WINDOW_S)
        spread.tell(LoopWindow(WINDOW_S, round(per_s * WINDOW_S), busy))
    return ways


def test_a_quick_model_keeps_one_loop_but_for_short_trials() -> None:
    ways = run(lambda way, _: 7000 if way is Way.ONE else 4500, seconds=120)
    assert ways[-1] is Way.ONE
    assert ways.count(Way.ALL) / len(ways) < 0.02


def test_a_slower_model_gets_all_loops_within_a_second() -> None:
    ways = run(lambda way, _: 6000 if way is Way.ONE else 11_000, seconds=120)
    assert set(ways[10:50]) == {Way.ALL}
    assert ways.count(Way.ONE) / len(ways) < 0.02


def test_a_gain_that_is_small_is_not_worth_the_cpus() -> None:
    assert run(lambda way, _: 1000 if way is Way.ONE else 1080, seconds=5)[-1] is Way.ONE


def test_a_machine_that_is_slow_for_a_moment_decides_nothing() -> None:
    for slow_at in range(12):

        def rates(way: Way, now_s: float, slow_at: int = slow_at) -> float:
            slowed = abs(now_s - slow_at * WINDOW_S) < WINDOW_S / 2
            return (7000 if way is Way.ONE else 4500) * (0.2 if slowed else 1)

        assert run(rates, seconds=3)[-1] is Way.ONE, slow_at


def test_nothing_is_tried_where_one_loop_has_time() -> None:
    assert set(run(lambda _, __: 500, seconds=100, busy=0.5)) == {Way.ONE}


def test_what_is_idle_again_has_one_loop() -> None:
    spread = Spread()
    assert run(lambda way, _: 100 if way is Way.ONE else 190, seconds=2, spread=spread)[-1] is Way.ALL
    run(lambda _, __: 10, seconds=0.2, busy=0.01, spread=spread)
    assert spread.way is Way.ONE


def test_another_load_is_tried_anew_before_the_minute_is_over() -> None:
    def rates(way: Way, now_s: float) -> float:
        if now_s < 10:
            return 7000 if way is Way.ONE else 4500
        return 900 if way is Way.ONE else 1700

    assert run(rates, seconds=12)[-1] is Way.ALL


def test_a_load_that_never_rests_is_not_tried_all_the_time() -> None:
    ways = run(lambda way, now_s: (1000 if way is Way.ONE else 500) * (1 + 3 * (int(now_s) % 2)), seconds=300)
    assert ways.count(Way.ALL) / len(ways) < 0.08
