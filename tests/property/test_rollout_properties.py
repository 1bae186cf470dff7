"""A rollout never touches a device outside its groups, whatever its devices do and whenever time passes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemm.states import RolloutState
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan, Selector
from edgemm_fleet.rollout.group_tally import GroupTally, GroupVerdict
from edgemm_fleet.store.membership import member_counts
from simulators import member_counting
from simulators.broker import LocalFleet, digest_of
from simulators.device import Outcome
from simulators.member_selection import MatchedDevice, select_members

pytestmark = pytest.mark.fleet

GROUPS = st.lists(
    st.one_of(
        st.builds(Group, count=st.integers(1, 4), deadline_s=st.just(100.0), soak_s=st.sampled_from([0.0, 50.0])),
        st.builds(Group, percent=st.sampled_from([10.0, 50.0, 100.0]), deadline_s=st.just(100.0)),
    ),
    min_size=1,
    max_size=3,
)
OUTCOMES = st.lists(st.sampled_from([*Outcome, None]), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GROUPS, OUTCOMES, st.lists(st.sampled_from([1.0, 60.0, 150.0, 5000.0]), max_size=4))
def test_a_rollout_never_touches_a_device_outside_its_groups(
    groups: list[Group], outcomes: list[Outcome | None], pauses: list[float]
) -> None:
    """An outcome of None is a device that never answers."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = LocalFleet(Path(folder))
        try:
            _check(fleet, groups, outcomes, pauses)
        finally:
            fleet.store.close()


def _check(fleet: LocalFleet, groups: list[Group], outcomes: list[Outcome | None], pauses: list[float]) -> None:
    for number, outcome in enumerate(outcomes):
        name = f"in-{number}"
        fleet.add(name, online=outcome is not None, site="north")
        fleet.devices[name].default = outcome or Outcome.COMMIT
    fleet.add("out-1", "out-2", site="south")
    rollout = fleet.run("1.0.0", *groups, selector=Selector(labels={"site": ("north",)}))
    for pause in [*pauses, 200.0, 200.0, 200.0, 10_000.0, 10_000.0]:
        members = fleet.members(rollout)
        assert set(fleet.sent) <= set(members), "only members are told anything"
        with fleet.store.read() as tx:
            assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)
        started = [index for index, group in enumerate(fleet.rollout(rollout).groups) if group.started_at is not None]
        assert {member.group for member in members.values()} <= set(started)
        for index in started[:-1]:
            assert fleet.rollout(rollout).groups[index].passed_at is not None, "one group after the other"
        fleet.wait(pause)
    installed = {name for name, device in fleet.devices.items() if device.installs}
    assert installed <= set(fleet.members(rollout))
    assert all(len(device.installs) <= 1 for device in fleet.devices.values()), "nothing is installed twice"
    assert fleet.rollout(rollout).state in {RolloutState.FINISHED, RolloutState.HALTED}, "it ends"
    members = fleet.members(rollout)
    assert all(member.deadline_at is None for member in members.values()), "so does each member"
    if fleet.rollout(rollout).state is RolloutState.HALTED:
        unsure = {name for name, member in members.items() if member.reason == "silent"}
        for name in members.keys() - unsure:
            assert fleet.wanted(name) == fleet.running(name), "after a halt each device is to keep what it runs"


STATES = st.sampled_from(MemberState)


@given(
    st.lists(GROUPS.filter(bool), min_size=1, max_size=1).map(lambda found: found[0]),
    st.dictionaries(st.integers(0, 40).map("cam-{}".format), st.tuples(st.booleans(), st.none() | STATES), max_size=40),
    st.integers(0, 2),
)
def test_a_group_takes_no_more_than_its_size_and_nobody_twice(
    groups: list[Group], found: dict[str, tuple[bool, MemberState | None]], number: int
) -> None:
    index = min(number, len(groups) - 1)
    plan = RolloutPlan(model="m", version="1.0.0", digest=digest_of("1.0.0"), groups=tuple(groups))
    candidates = [MatchedDevice(device, online) for device, (online, _) in found.items()]
    members = {device: state for device, (_, state) in found.items() if state is not None}
    chosen = select_members("r", plan, index, candidates=candidates, members=members)
    again = {device for device in chosen if device in members}
    assert len(set(chosen)) == len(chosen)
    assert all(members[device] is MemberState.TIMED_OUT for device in again)
    assert not again or index == plan.last_group
    fresh, group = len(chosen) - len(again), groups[index]
    limit = group.count if group.count is not None else max(1, -(-len(candidates) * (group.percent or 0) // 100))
    assert fresh <= limit


RATIOS = st.floats(0, 1)
THRESHOLDS = st.builds(Group, percent=st.just(100.0), success_threshold=RATIOS, error_threshold=RATIOS)


@st.composite
def tallies(draw: st.DrawFn) -> GroupTally:
    committed, failed, unfinished, unreached = (draw(st.integers(0, 30)) for _ in range(4))
    reported = committed + failed + unfinished
    return GroupTally(
        members=reported + unreached,
        reported=reported,
        unfinished=unfinished + unreached,
        committed=committed,
        failed=failed,
    )


@given(tallies(), THRESHOLDS)
def test_another_failure_never_turns_a_halt_into_anything_better(tally: GroupTally, group: Group) -> None:
    one_more = replace(tally, reported=tally.reported + 1, failed=tally.failed + 1, unfinished=tally.unfinished - 1)
    if tally.unfinished and tally.verdict(group) is GroupVerdict.TOO_MANY_ERRORS:
        assert one_more.verdict(group) is GroupVerdict.TOO_MANY_ERRORS
    if tally.committed == 0 and tally.members:
        assert tally.verdict(group) is not GroupVerdict.ENOUGH_SUCCESSES
