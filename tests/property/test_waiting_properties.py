"""Rollouts under any order, loss and repetition of reports, of operators' commands, restarts and time.

Whatever happens, no device is touched in a pause, and each state that is not final ends within its stated limits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemm.errors import ConflictError
from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.records.waiting import WAITS
from edgemm_fleet.rollout.machine import OPEN_STATES
from edgemm_fleet.store.membership import member_counts
from simulators import member_counting
from simulators.broker import MODEL, LocalFleet
from simulators.device import Outcome, Outgoing

pytestmark = pytest.mark.fleet

ANN, DEVICES, PAUSE_S = "person:ann", 5, 1000.0
GOOD = [Outcome.COMMIT, Outcome.SLOW_DOWNLOAD, Outcome.HANG, None]
OUTCOMES = st.one_of(
    st.lists(st.sampled_from(GOOD), min_size=DEVICES, max_size=DEVICES),
    st.lists(st.sampled_from([*Outcome, None]), min_size=DEVICES, max_size=DEVICES),
)
THRESHOLDS = {"deadline_s": st.just(100.0), "soak_s": st.sampled_from([0.0, 50.0]), "approve": st.booleans()}
LOOSE = {
    "error_threshold": st.sampled_from([1.0, 0.1]),
    "success_threshold": st.sampled_from([0.3, 0.9]),
    "min_reached": st.sampled_from([0.0, 0.5]),
}
GROUPS = st.lists(
    st.one_of(
        st.builds(Group, count=st.integers(1, 2), **THRESHOLDS, **LOOSE),
        st.builds(Group, percent=st.sampled_from([50.0, 100.0]), **THRESHOLDS, **LOOSE),
    ),
    min_size=2,
    max_size=3,
)
ACTS = ["pause", "resume", "next", "halt", "restart", "finish", "again", "come", "go"]
STEPS = st.lists(st.one_of(st.sampled_from(ACTS), st.sampled_from([1.0, 60.0, 150.0, 900.0])), min_size=6, max_size=14)
FINAL = {RolloutState.FINISHED, RolloutState.HALTED}


class Disturbed:
    """A fleet whose messages get lost, repeated and mixed up, and what its operators do."""

    def __init__(self, fleet: LocalFleet, rollout: str, random: Random) -> None:
        self.fleet, self.rollout, self.random = fleet, rollout, random
        self.said: list[Outgoing] = []
        fleet.disturb = self.disturb

    def disturb(self, messages: list[Outgoing]) -> list[Outgoing]:
        """Lose some, repeat some, also old ones, and mix them up."""
        kept = [one for one in messages for _ in range(self.random.choice([0, 1, 1, 2]))]
        self.said += messages
        kept += self.random.sample(self.said, k=min(len(self.said), self.random.randrange(3)))
        self.random.shuffle(kept)
        return kept

    def do(self, step: str | float) -> None:
        """Take a step; a command that is refused by the state changes nothing."""
        if isinstance(step, float):
            self.fleet.wait(step)
            return
        with suppress(ConflictError):
            self._acts()[step]()
        self.fleet.settle()

    def _acts(self) -> dict[str, Callable[[], object]]:
        fleet, now = self.fleet, self.fleet.now
        one = self.random.choice(list(fleet.devices.values()))
        return {
            "pause": lambda: fleet.operations.pause(self.rollout, actor=ANN, reason="x", limit_s=PAUSE_S, now=now),
            "resume": lambda: fleet.operations.resume(self.rollout, actor=ANN, now=now),
            "next": lambda: fleet.operations.go_on(self.rollout, actor=ANN, after=None, now=now),
            "halt": lambda: fleet.operations.halt(self.rollout, actor=ANN, reason="y", now=now),
            "restart": fleet.restart,
            "finish": lambda: fleet.deliver(one.finish(MODEL)) if MODEL in one.reported else None,
            "again": lambda: fleet.deliver([one.report()]),
            "come": lambda: fleet.connect(one.id),
            "go": lambda: setattr(one, "silent", True),
        }


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GROUPS, OUTCOMES, STEPS, st.integers(0, 2**32))
def test_no_device_is_touched_in_a_pause_and_nothing_hangs(
    groups: list[Group], outcomes: list[Outcome | None], steps: list[str | float], seed: int
) -> None:
    """An outcome of None is a device that never answers."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = LocalFleet(Path(folder))
        try:
            _check(fleet, groups, outcomes, steps, Random(seed))
        finally:
            fleet.store.close()


def _check(
    fleet: LocalFleet, groups: list[Group], outcomes: list[Outcome | None], steps: list[str | float], random: Random
) -> None:
    for number, outcome in enumerate(outcomes):
        fleet.add(f"cam-{number}", online=outcome is not None)
        fleet.devices[f"cam-{number}"].default = outcome or Outcome.COMMIT
    rollout = fleet.start(fleet.plan("1.0.0", *groups))
    disturbed = Disturbed(fleet, rollout, random)
    for step in steps:
        before, members = fleet.rollout(rollout), set(fleet.members(rollout))
        disturbed.do(step)
        after = fleet.rollout(rollout)
        _check_end(fleet, rollout)
        if before.state is RolloutState.PAUSED and step != "resume":
            assert set(fleet.members(rollout)) == members, "no further device is told in a pause"
            assert set(fleet.sent) <= members
            assert [one.started_at for one in after.groups] == [one.started_at for one in before.groups]
        if before.state in FINAL:
            assert after.state is before.state, "what is over stays so"
        if step == "halt" and before.state in OPEN_STATES:
            assert after.state in FINAL
    _end(fleet, rollout)
    assert all(member.deadline_at is None for member in fleet.members(rollout).values())


def _check_end(fleet: LocalFleet, rollout: str) -> None:
    """Whatever is not final has an end, and none that is further off than its limit; and all members are counted."""
    with fleet.store.read() as tx:
        assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)
    found = fleet.rollout(rollout)
    if found.state in FINAL:
        assert found.waiting is None
        return
    if found.state is RolloutState.PAUSED:
        assert found.waiting is not None
        assert found.waiting.until <= fleet.now + PAUSE_S
    elif found.waiting is not None:
        assert found.waiting.until <= fleet.now + WAITS[found.waiting.kind].limit_s
    else:
        current = found.current_group
        assert current is not None
        unfinished = [one for one in fleet.members(rollout).values() if one.deadline_at is not None]
        assert unfinished or found.groups[current].met_at is not None, "a running one has something to come"
        longest_s = max(found.plan.activation_s, *(group.deadline_s for group in found.plan.groups))
        assert all((one.deadline_at or 0) <= fleet.now + longest_s for one in unfinished)


def _end(fleet: LocalFleet, rollout: str) -> None:
    """Let only time pass: each wait, soak and deadline may come one after the other."""
    plan = fleet.rollout(rollout).plan
    longest_s = max(plan.activation_s, PAUSE_S, *(limit.limit_s for limit in WAITS.values()))
    for _ in range(6 * len(plan.groups) + 4):
        if fleet.rollout(rollout).state in FINAL:
            break
        fleet.wait(longest_s)
    assert fleet.rollout(rollout).state in FINAL, "it ends"
    fleet.wait(longest_s)
