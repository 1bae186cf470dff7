"""Trusted time over random histories of clocks, starts and statements: it has a way back, and no other than that."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemm.reasons import Reason
from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S
from edgemm.transport.backoff import Backoff
from edgemm_runtime.agent.state.time_doubt import LEAST_PAUSE_S, RECHECK_S, TimeDoubt
from edgemm_runtime.agent.state.trusted_time import (
    SKEW_S,
    TimeMemory,
    clock_trouble,
    expired,
    stated,
    trusted_time,
)

pytestmark = pytest.mark.runtime
YEAR_S = 365 * 86400.0
BEGIN_S = BUILD_TIME_S + 30 * 86400.0


@dataclass
class Device:
    """A device whose system clock is off by `off_s`; `issued_s` is when the newest metadata was really signed."""

    real_s: float = BEGIN_S
    off_s: float = 0.0
    issued_s: float = 0.0
    memory: TimeMemory = field(default_factory=TimeMemory)
    kept: TimeMemory = field(default_factory=TimeMemory)

    @property
    def system_s(self) -> float:
        return self.real_s + self.off_s

    def look(self) -> float:
        found = trusted_time(self.system_s, last_s=self.memory.last_s, ahead_s=self.memory.ahead_s)
        assert found.seconds >= max(self.memory.last_s, BUILD_TIME_S), "it falls by a statement alone"
        assert found.seconds <= BUILD_TIME_S + PLAUSIBLE_S or found.seconds == self.memory.last_s
        self.memory = TimeMemory(found.seconds, self.memory.ahead_s, self.memory.since_s)
        return found.seconds

    def hear(self, fleet_s: float) -> None:
        before = self.memory
        self.memory = stated(before, fleet_s=fleet_s, system_s=self.system_s, least_s=self.issued_s)
        assert self.memory.last_s <= before.last_s, "a statement never raises it"
        lowest = max(fleet_s, self.issued_s, BUILD_TIME_S)
        assert self.memory.last_s >= min(before.last_s, lowest), "nor lowers it behind what bounds it"
        self.kept = self.memory

    def step(self, kind: str, value: float) -> None:
        match kind:
            case "wait":
                self.real_s += abs(value) % (30 * 86400)
            case "leap":
                self.off_s = value
            case "sign":
                self.issued_s = self.real_s
            case "keep":
                self.kept = self.memory
            case "start":
                self.memory = self.kept
            case "hear":
                self.hear(self.real_s)
            case "lie":
                self.hear(max(0.0, self.real_s + value))
        self.look()


years = st.floats(-60 * YEAR_S, 20 * YEAR_S) | st.floats(-2 * SKEW_S, 2 * SKEW_S) | st.just(0.0)
steps = st.lists(
    st.tuples(st.sampled_from(["wait", "leap", "sign", "keep", "start", "hear", "lie"]), years), max_size=40
)


@settings(max_examples=400, deadline=None)
@given(steps, years)
def test_one_true_statement_ends_every_leap(history: list[tuple[str, float]], off_s: float) -> None:
    """Also while the clock goes on being wrong, and over any start after it: what is fresh is not expired."""
    device = Device()
    for kind, value in history:
        device.step(kind, value)
    device.off_s = off_s
    device.hear(device.real_s)
    for seconds in (0.0, 60.0, 86400.0, 300 * 86400.0):
        device.real_s += seconds
        if device.memory.last_s < device.real_s + SKEW_S:
            device.memory = device.kept  # a start, of one that keeps its time at each
        now = trusted_time(device.system_s, last_s=device.memory.last_s, ahead_s=device.memory.ahead_s)
        assert not expired(device.real_s + 2 * SKEW_S, now)
        device.look()
    if off_s == 0.0 and BEGIN_S <= device.real_s <= BUILD_TIME_S + PLAUSIBLE_S:
        assert clock_trouble(device.system_s, device.memory) is None
        assert trusted_time(device.system_s, last_s=device.memory.last_s).clock_synced


@settings(max_examples=300, deadline=None)
@given(steps, st.floats(0, 60 * YEAR_S))
def test_no_statement_lowers_it_behind_metadata_and_build(history: list[tuple[str, float]], told_s: float) -> None:
    """A thief of the timestamp key states what he likes, and gets what root and targets and the build leave him."""
    device = Device(issued_s=BEGIN_S - 86400)
    for kind, value in history:
        device.step(kind, value)
    before = device.look()
    device.hear(told_s)
    assert device.look() >= min(before, max(BUILD_TIME_S, device.issued_s))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([None, Reason.CLOCK_AHEAD, Reason.CLOCK_BEHIND]), min_size=1, max_size=30),
    st.lists(st.sampled_from(["answered", "changed", "failed", "refused", "ordered", "leapt"]), max_size=60),
    st.floats(0, 1, exclude_max=True),
)
def test_questions_are_rare_and_none_is_forgotten(troubles: list[Any], events: list[str], draw: float) -> None:
    backoff, doubt, now_s, asked = Backoff(1.0, 300.0), TimeDoubt(), 1000.0, list[float]()
    for number, event in enumerate([*events, *["refused"] * 50]):
        trouble = troubles[number % len(troubles)]
        doubt = doubt.looked(trouble, now_s)
        if event == "refused":
            doubt = doubt.doubted(Reason.DESIRED_EXPIRED, now_s)
        elif event == "ordered":
            doubt = doubt.ordered(now_s)
        elif event == "leapt":
            doubt = doubt.leapt(now_s)
        if doubt.due(now_s):
            asked.append(now_s)
            if event == "failed":
                doubt = doubt.failed(now_s, backoff, draw=draw)
                assert doubt.open
                assert doubt.next_s <= now_s + 300
            else:
                doubt = doubt.answered(now_s, changed=event == "changed", trouble=trouble)
        assert doubt.reason is not None or not doubt.open, "who asks says why"
        now_s += 1.0
    assert all(later - earlier >= LEAST_PAUSE_S for earlier, later in pairwise(asked))


def test_a_stream_of_refusals_is_no_stream_of_questions() -> None:
    doubt, asked = TimeDoubt(), 0
    for now_s in range(86400):
        doubt = doubt.looked(None, now_s).doubted(Reason.DESIRED_EXPIRED, now_s)
        if doubt.due(now_s):
            asked += 1
            doubt = doubt.answered(now_s, changed=False, trouble=None)
    assert 24 <= asked <= 32


def test_a_clock_that_stays_wrong_is_asked_about_every_few_hours() -> None:
    doubt, asked = TimeDoubt(), 0
    for now_s in range(0, 2 * 86400, 30):
        doubt = doubt.looked(Reason.CLOCK_BEHIND, now_s)
        if doubt.due(now_s):
            asked += 1
            doubt = doubt.answered(now_s, changed=False, trouble=Reason.CLOCK_BEHIND)
    assert asked == 2 * 86400 / RECHECK_S
    assert doubt.since_s == 0, "and it is wrong since it began"
    assert TimeDoubt().looked(None, 0) == TimeDoubt()
