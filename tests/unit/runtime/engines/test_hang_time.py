"""What counts against an inference is time in which it could have computed: not a busy, stopped or sleeping machine."""

from __future__ import annotations

from edgemm_runtime.board.thread_times import ThreadsSeen, ThreadTime
from edgemm_runtime.engines.hang_time import Had, spent

ME, NATIVE, HELPER, OTHER = 1, 101, 900, 102
PYTHON = {ME: NATIVE, 2: OTHER}


def seen(now_s: float, **times: tuple[float, float]) -> ThreadsSeen:
    native = {"me": NATIVE, "helper": HELPER, "other": OTHER}
    return ThreadsSeen(now_s, {native[name]: ThreadTime(*time) for name, time in times.items()}, PYTHON)


def had(**times: tuple[float, float]) -> Had:
    return spent(seen(0.0, **dict.fromkeys(times, (5.0, 5.0))), seen(1.0, **times), ME)


def test_a_thread_that_computes_has_had_its_time_and_is_at_work() -> None:
    found = had(me=(5.9, 5.1))
    assert round(found.had_s, 6) == 0.9
    assert found.computes


def test_a_thread_that_waits_for_nothing_has_had_its_time_and_is_not_at_work() -> None:
    found = had(me=(5.0, 5.0), other=(5.1, 5.9))
    assert found.had_s == 1.0, "Python's other threads are no part of the engine"
    assert not found.computes


def test_a_thread_that_was_ready_and_had_no_cpu_has_had_none() -> None:
    assert round(had(me=(5.02, 5.98)).had_s, 6) == 0.02


def test_a_wait_for_a_cpu_that_goes_on_counts_before_linux_counts_it() -> None:
    now = seen(1.0)._replace(times={NATIVE: ThreadTime(5.1, 5.0, ready=True)})
    assert round(spent(seen(0.0, me=(5.0, 5.0)), now, ME).had_s, 6) == 0.1


def test_a_thread_that_waits_for_the_engines_own_ones_has_had_what_they_had() -> None:
    assert round(had(me=(5.0, 5.0), helper=(5.1, 5.9)).had_s, 6) == 0.1
    assert had(me=(5.0, 5.0), helper=(5.9, 5.1)).computes


def test_where_linux_counts_nothing_the_clock_alone_does() -> None:
    assert had() == Had(1.0, 0.0)


def test_parts_add_up() -> None:
    assert Had(1.0, 0.5) + Had(0.5, 0.25) == Had(1.5, 0.75)
