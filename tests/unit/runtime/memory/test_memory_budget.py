"""What requests may hold together → one that never fits, one that does not fit now, and all given back in the end."""

from __future__ import annotations

import gc
import threading

import pytest

from edgemm.errors import TooLargeError, UnavailableError
from edgemm_runtime.memory.memory_budget import Holding, MemoryBudget


def test_what_is_held_is_counted_until_nothing_refers_to_it() -> None:
    budget = MemoryBudget(1000)
    one, other = budget.holding(), budget.holding()
    one.grow(300)
    other.grow(200)
    one.shrink(100)
    assert (one.held_bytes, budget.held_bytes, budget.room_bytes) == (200, 400, 600)
    del one
    assert budget.held_bytes == 200
    del other
    assert budget.held_bytes == 0


def test_never_and_not_now_are_told_apart_and_hold_nothing() -> None:
    budget = MemoryBudget(1000)
    first = budget.holding()
    first.grow(700)
    second = budget.holding()
    for asked in (second.grow, second.check):
        with pytest.raises(UnavailableError, match="try again"):
            asked(301)
        with pytest.raises(TooLargeError, match=r"1,001 bytes .* 1,000"):
            asked(1001)
    assert (second.held_bytes, budget.held_bytes) == (0, 700)
    second.check(300)
    second.grow(300)
    assert budget.room_bytes == 0


def test_beside_next_to_nothing_what_does_not_fit_never_will() -> None:
    budget = MemoryBudget(1000)
    budget.take_anyway(60)
    holding = budget.holding()
    for asked in (holding.grow, holding.check):
        with pytest.raises(TooLargeError):
            asked(950)
    budget.take_anyway(60)
    for asked in (holding.grow, holding.check):
        with pytest.raises(UnavailableError):
            asked(950)


def test_what_a_connection_grants_is_not_counted_again() -> None:
    budget = MemoryBudget(1000)
    holding = budget.holding(granted_bytes=400)
    holding.grow(300)
    assert budget.held_bytes == 0
    holding.grow(300)
    assert (holding.held_bytes, budget.held_bytes) == (600, 200)
    holding.shrink(250)
    assert (holding.held_bytes, budget.held_bytes) == (350, 0)
    budget.take_anyway(2000)
    assert budget.room_bytes == -1000
    with pytest.raises(UnavailableError):
        holding.grow(100)


def test_a_holding_may_end_where_the_budget_is_being_asked() -> None:
    budget = MemoryBudget(1000)
    holding: list[Holding] = [budget.holding()]
    holding[0].grow(900)
    with budget._lock:  # as where the collector runs in the middle of `take`
        holding.clear()
    assert budget.take(1000)


def test_many_threads_leave_nothing_behind() -> None:
    budget, refused = MemoryBudget(10_000), []

    def work() -> None:
        for size in range(1, 3000):
            holding = budget.holding(granted_bytes=size % 7)
            try:
                holding.grow(size)
                holding.shrink(size // 2)
                holding.grow(size)
            except UnavailableError:
                refused.append(size)

    gc.disable()
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.enable()
    assert budget.held_bytes == 0
