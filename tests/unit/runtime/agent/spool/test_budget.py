from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgemm.messages import Stream
from edgemm_runtime.agent.spool.budget import (
    Memory,
    Price,
    SpoolRules,
    Waiting,
    WritePlan,
    excess,
    plan,
)
from edgemm_runtime.write_budget import DAY_S, WriteBudget

PRICE = Price(commit=1000, page=100, message=200, removal=50, page_bytes=500)
RULES = SpoolRules(hold_s=600, batch_bytes=3000, batch_removals=10, memory_bytes=5000)
E, T = Stream.EVENT, Stream.TELEMETRY
NOW = 1000.0


def _plan(
    *messages: tuple[Stream, int, float], left: float | None = None, removals: int = 0, age: float = 0
) -> WritePlan:
    """Plan for messages (stream, bytes, age); a day has 160,000 bytes, of which events have 10,000 for themselves."""
    waiting = [Waiting(stream, size, NOW - old) for stream, size, old in messages]
    budget = None if left is None else WriteBudget(160_000, left, NOW)
    memory = Memory(NOW, waiting, removals, NOW - age)
    return plan(budget, memory, rules=RULES, price=PRICE)


@pytest.mark.parametrize(
    ("messages", "write"),
    [
        pytest.param([(T, 500, 599)], (), id="a window waits"),
        pytest.param([(T, 500, 600)], (0,), id="until it is due"),
        pytest.param([(T, 500, 600), (T, 500, 1)], (0, 1), id="and takes along what came after it"),
        pytest.param([(T, 1500, 2), (T, 1500, 1)], (0, 1), id="much is due at once"),
        pytest.param([(E, 1, 0)], (0,), id="an event is due at once"),
        pytest.param([(T, 500, 60), (E, 500, 0)], (0, 1), id="and takes along what waits"),
    ],
)
def test_what_is_due(messages: Sequence[tuple[Stream, int, float]], write: tuple[int, ...]) -> None:
    assert _plan(*messages).write == write
    assert _plan(*messages, left=40_000).write == write


@pytest.mark.parametrize(
    ("left", "write"),
    [
        pytest.param(10_000 + 1000 + 4 * 300, (0, 1, 2, 3), id="all can be paid"),
        pytest.param(10_000 + 1000 + 4 * 300 - 1, (3,), id="not all windows can, so they wait for each other"),
        pytest.param(10_000 + 1000 + 300, (3,), id="no window can, and the event can"),
        pytest.param(1300, (3,), id="of what is kept for events"),
        pytest.param(1299, (), id="nothing can"),
    ],
)
def test_events_go_before_windows_and_have_a_reserve(left: float, write: tuple[int, ...]) -> None:
    found = _plan((T, 500, 700), (T, 500, 700), (T, 500, 700), (E, 500, 0), left=left)
    assert found.write == write
    assert found.most_bytes == (1000 + 300 * len(write) if write else 0)


def test_what_is_stored_is_removed_in_one_commit_and_within_the_budget() -> None:
    assert not _plan(removals=9, age=599).writes
    assert _plan(removals=9, age=600).removals == 9
    assert _plan(removals=10).removals == 10
    assert _plan((E, 500, 0), removals=1).removals == 1
    assert _plan(removals=10, left=10_000 + 1000 + 10 * 50).removals == 10
    assert not _plan(removals=10, left=10_000 + 1000 + 10 * 50 - 1).writes
    assert _plan(removals=1000, left=25_000).removals == 14_000 // 50


def test_a_backlog_is_written_by_many_at_a_time_and_the_oldest_go_first() -> None:
    backlog = [(T, 500, 700.0)] * 100
    assert not _plan(*backlog, left=24_999).writes
    assert _plan(*backlog, left=25_000).write == tuple(range(14_000 // 300))
    events = [(E, 500, 700.0)] * 100
    assert not _plan(*events, left=14_999).writes
    assert _plan(*events, left=15_000).write == tuple(range(14_000 // 300))


def test_what_memory_has_no_room_for_goes_windows_first_and_the_oldest_of_them() -> None:
    waiting = [Waiting(E, 2000, 0), Waiting(T, 1000, 0), Waiting(T, 1000, 1), Waiting(T, 1000, 2)]
    assert excess(waiting, rules=RULES) == frozenset()
    assert excess([*waiting, Waiting(T, 1000, 3)], rules=RULES) == {1}
    assert excess([*waiting, Waiting(E, 4000, 3)], rules=RULES) == {0, 1, 2, 3}


def test_a_day_gives_five_eighths_and_never_more_than_a_quarter_at_once() -> None:
    spent = WriteBudget(160_000, 0, NOW)
    assert spent.at(NOW + DAY_S / 10).left_bytes == pytest.approx(10_000)
    assert spent.at(NOW + 100 * DAY_S).left_bytes == 40_000
    assert spent.at(0).left_bytes == 0
    assert spent.at(NOW - 1).left_bytes == pytest.approx(100_000 * (NOW - 1) / DAY_S)
    assert WriteBudget.full(160_000, now_s=5).charged(50_000).left_bytes == -10_000
