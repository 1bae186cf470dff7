"""Whatever waits and however the machine's clock runs: no day costs more than its budget, nor locks it for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemm.messages import Stream
from edgemm_runtime.agent.spool.budget import Memory, Price, SpoolRules, Waiting, excess, plan
from edgemm_runtime.write_budget import DAY_S, WriteBudget

pytestmark = pytest.mark.runtime

PRICE = Price(commit=120_000, page=4632, message=23_160, removal=23_160, page_bytes=508)
RULES = SpoolRules(hold_s=600, memory_bytes=20_000)
DAY_BYTES = 3 * 2**20


@dataclass(frozen=True)
class Write:
    """A commit, `when` by a clock that counts the seconds in which the machine ran."""

    when: float
    size: float


@dataclass
class Device:
    """Adds messages, writes by plan, and loses its power; `now_s` is what its monotonic clock shows."""

    budget: WriteBudget
    ran_s: float = 0.0
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.kept = self.budget
        self.waiting: list[Waiting] = []
        self.writes: list[Write] = []
        self.done: list[Waiting] = []

    def pass_time(self, seconds: float) -> None:
        self.ran_s += seconds
        self.now_s += seconds

    def settle(self, share: float) -> None:
        """Do what is planned, at a share of the most that it may cost."""
        budget = self.budget.at(self.now_s)
        decided = plan(budget, Memory(self.now_s, self.waiting), rules=RULES, price=PRICE)
        if decided.writes:
            self.kept = budget.charged(decided.most_bytes)
            self.budget = budget.charged(decided.most_bytes * share)
            self.writes.append(Write(self.ran_s, decided.most_bytes * share))
            self.done += [self.waiting[index] for index in decided.write]
        left = [w for index, w in enumerate(self.waiting) if index not in decided.write]
        drop = excess(left, rules=RULES)
        self.waiting = [w for index, w in enumerate(left) if index not in drop]

    def start(self, *, machine: bool) -> None:
        """Come back after a loss of power, or of the agent alone."""
        self.now_s = 0.0 if machine else self.now_s
        self.waiting = []
        self.budget = self.kept.at(self.now_s)


adds = st.tuples(st.just("add"), st.sampled_from(Stream), st.integers(1, 8000))
waits = st.tuples(st.just("wait"), st.floats(0, 20_000), st.just(0))
starts = st.tuples(st.just("start"), st.booleans(), st.just(0))
bursts = st.tuples(st.just("burst"), st.sampled_from(Stream), st.integers(1, 200))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(adds, waits, waits, starts, bursts), max_size=60), st.floats(0.05, 1))
def test_no_day_of_running_time_costs_more_than_its_budget(steps: list[tuple[str, Any, int]], share: float) -> None:
    device = Device(WriteBudget.full(DAY_BYTES, now_s=0))
    for kind, what, number in steps:
        if kind == "wait":
            device.pass_time(float(what))
        elif kind == "start":
            device.start(machine=bool(what))
        else:
            for _ in range(number if kind == "burst" else 1):
                device.waiting.append(Waiting(Stream(what), number if kind == "add" else 600, device.now_s))
                device.settle(share)
        device.settle(share)
    # What is written once more, when the log is folded, was paid before: at most its share more in any day.
    most = DAY_BYTES - device.budget.fold_bytes
    for first in device.writes:
        assert sum(w.size for w in device.writes if 0 <= w.when - first.when < DAY_S) <= most
    assert sum(w.size for w in device.waiting) <= RULES.memory_bytes


@given(
    st.floats(-1e6, DAY_BYTES / 4), st.floats(0, 1e9), st.floats(0, 1e6), st.sampled_from(Stream), st.integers(1, 2000)
)
def test_whatever_was_spent_a_message_is_written_within_a_day(
    left: float, as_of_s: float, now_s: float, stream: Stream, size: int
) -> None:
    """Also where the machine started anew, and its clock shows less than before."""
    device = Device(WriteBudget(DAY_BYTES, left, as_of_s), now_s=now_s)
    device.waiting.append(Waiting(stream, size, now_s))
    for _ in range(48):
        device.pass_time(DAY_S / 24)
        device.settle(1.0)
    assert [w.size for w in device.done] == [size]


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, DAY_BYTES / 4))
def test_a_clock_that_begins_again_frees_no_more_than_it_shows(before_s: float, now_s: float, left: float) -> None:
    earned = WriteBudget(DAY_BYTES, left, before_s).at(now_s).left_bytes - left
    assert 0 <= earned <= now_s * DAY_BYTES * 5 / 8 / DAY_S + 1e-6
