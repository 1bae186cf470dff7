"""Large groups of devices that change while their members are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm.messages import DesiredModel
from edgemm.states import RolloutState
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout import preparing
from edgemm_fleet.rollout.pace import WorkPace
from edgemm_fleet.store import devices, rollouts
from edgemm_fleet.store.membership import member_counts, prepared
from simulators import member_counting
from simulators.broker import MODEL, LocalFleet, digest_of

ANN, NAMES = "person:ann", ("cam-0", "cam-1", "cam-2", "cam-3")
EVERYBODY = Group(percent=100, deadline_s=600)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalFleet:
    """Four devices, of whom one at a time becomes a member."""
    monkeypatch.setattr(preparing, "_LITTLE", 0)
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES, ring="x")
    monkeypatch.setattr(fleet.preparer, "_pace", WorkPace(least=1, most=1))
    return fleet


def set_online(fleet: LocalFleet, *, online: bool) -> None:
    with fleet.store.write() as tx:
        for name in NAMES:
            devices.set_presence(tx, name, replace(devices.get(tx, name).presence, online=online))


def prepare(fleet: LocalFleet, rollout: str) -> None:
    while fleet.rollout(rollout).groups[0].started_at is None:
        assert fleet.preparer.step(now=fleet.now)


def test_a_canary_whose_devices_match_no_more_halts(fleet: LocalFleet) -> None:
    selector = Selector(where="online")
    rollout = fleet.start(fleet.plan("2.0.0", Group(count=2), EVERYBODY, selector=selector))
    fleet.preparer.step(now=fleet.now)
    assert fleet.rollout(rollout).groups[0].size == 2
    set_online(fleet, online=False)
    prepare(fleet, rollout)
    set_online(fleet, online=True)
    fleet.settle()
    found = fleet.rollout(rollout)
    assert found.state is RolloutState.HALTED
    assert selector.nobody() in str(found.reason)
    assert fleet.states(rollout) == {}


def test_a_canary_whose_devices_match_again_in_time_is_chosen_of_them(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", Group(count=2), EVERYBODY, selector=Selector(where="online")))
    fleet.preparer.step(now=fleet.now)
    set_online(fleet, online=False)
    choice = fleet.preparer._chosen(fleet.rollout(rollout), 0, now=fleet.now)
    assert choice.waiting == []
    set_online(fleet, online=True)
    assert fleet.preparer._start(fleet.rollout(rollout), 0, choice, now=fleet.now)
    prepare(fleet, rollout)
    assert fleet.rollout(rollout).groups[0].size == len(fleet.states(rollout)) == 2


@pytest.mark.parametrize(("size", "members"), [(Group(count=4), 4), (Group(percent=50), 2), (EVERYBODY, 8)], ids=str)
def test_devices_that_join_meanwhile_do_not_make_a_group_larger_than_its_size(
    fleet: LocalFleet, size: Group, members: int
) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", size, EVERYBODY))
    for _ in range(2):
        fleet.preparer.step(now=fleet.now)
    fleet.add("new-0", "new-1", "new-2", "new-3")
    prepare(fleet, rollout)
    assert fleet.rollout(rollout).groups[0].size == len(fleet.states(rollout)) == members


def test_who_is_chosen_is_chosen_anew_after_a_pause(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", EVERYBODY, selector=Selector(labels={"ring": ("x",)})))
    while len(fleet.states(rollout)) < 1:
        fleet.preparer.step(now=fleet.now)
    fleet.operations.pause(rollout, actor=ANN, reason="x", limit_s=1e6, now=fleet.now)
    fleet.preparer.step(now=fleet.now)
    (chosen,) = fleet.states(rollout)
    with fleet.store.write() as tx:
        for name in NAMES:
            devices.set_labels(tx, name, {"ring": "y"})
    fleet.now += 86400
    fleet.operations.resume(rollout, actor=ANN, now=fleet.now)
    prepare(fleet, rollout)
    assert list(fleet.states(rollout)) == [chosen]


def test_a_member_that_is_removed_before_it_is_taken_again_counts_as_removed(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", Group(count=2), EVERYBODY))
    with fleet.store.write() as tx:
        assert prepared.prepare(tx, rollout, NAMES[:2], group=0, now=fleet.now) == set()
        rollouts.put_members(
            tx, [replace(one, state=MemberState.TIMED_OUT) for one in rollouts.members_of(tx, rollout)]
        )
        devices.remove(tx, NAMES[0], now=fleet.now)
        fleet.runner.leave(tx, NAMES[0], now=fleet.now)
        assert prepared.prepare(tx, rollout, NAMES, group=1, now=fleet.now) == {NAMES[0]}
        assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)
    assert sorted(fleet.states(rollout).values()) == ["excused", "prepared", "prepared", "prepared"]


def test_a_member_that_answers_late_before_it_is_taken_again_keeps_what_it_is(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", Group(count=2), EVERYBODY))
    ran_before = DesiredModel(name=MODEL, version="1.0.0", digest=digest_of("1.0.0"), attempt=1)
    with fleet.store.write() as tx:
        prepared.prepare(tx, rollout, NAMES[:2], group=0, now=fleet.now)
        late, lost = rollouts.members_of(tx, rollout)
        late = replace(late, state=MemberState.COMMITTED, generation=7, previous=ran_before)
        lost = replace(lost, state=MemberState.TIMED_OUT, generation=8, previous=ran_before)
        rollouts.put_members(tx, [late, lost])
        for _ in range(2):
            assert prepared.prepare(tx, rollout, NAMES, group=1, now=fleet.now) == {late.device}
            assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)
    assert fleet.members(rollout)[late.device] == late
    assert fleet.members(rollout)[lost.device].previous == ran_before
    assert sorted(fleet.states(rollout).values()) == ["committed", "prepared", "prepared", "prepared"]
