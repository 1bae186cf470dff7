"""Rollouts in parts of which something goes wrong: that is noted where people see it, and holds nobody else up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from edgemm.states import RolloutState
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout import preparing
from edgemm_fleet.rollout.pace import WorkPace
from edgemm_fleet.store import devices
from edgemm_fleet.store.membership import member_counts
from edgemm_fleet.store.schema import members
from simulators import member_counting
from simulators.broker import LocalFleet

ANN, NAMES = "person:ann", ("cam-0", "cam-1", "cam-2", "cam-3")
EVERYBODY = Group(percent=100, deadline_s=600)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalFleet]:
    """Four devices on two rings, of whom one at a time is told or told otherwise."""
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES[:2], ring="x")
    fleet.add(*NAMES[2:], ring="y")
    for pace in ("_telling", "_taking_back"):
        monkeypatch.setattr(fleet.hand_outs, pace, WorkPace(least=1, most=1))
    yield fleet
    fleet.store.close()


def ring(fleet: LocalFleet, name: str, version: str, **settings: Any) -> str:
    plan = fleet.plan(version, EVERYBODY, selector=Selector(labels={"ring": (name,)}), **settings)
    return fleet.start(plan)


def fail(*_: Any, **__: Any) -> None:
    raise ValueError("a defect")


def tick(fleet: LocalFleet) -> None:
    fleet.runner.tick(fleet.store, now=fleet.now)


def test_the_trouble_of_a_take_back_stays_until_it_goes_well(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = ring(fleet, "x", "1.0.0")
    fleet.hand_outs.hand_out(now=fleet.now)
    fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    with monkeypatch.context() as broken:
        broken.setattr(fleet.runner, "take_back", fail)
        fleet.hand_outs.take_back(now=fleet.now)
        tick(fleet)
        assert fleet.rollout(rollout).trouble == "ValueError: a defect"
    fleet.now += 2
    fleet.settle()
    tick(fleet)
    assert fleet.rollout(rollout).trouble is None


@pytest.mark.parametrize("what", ["measured", "takes_all", "add", "settled"])
def test_the_trouble_of_preparing_is_noted_and_stays_until_it_goes_well(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(preparing, "_LITTLE", 0)
    rollout = ring(fleet, "x", "1.0.0")
    with monkeypatch.context() as broken:
        broken.setattr(preparing, what, fail)
        while fleet.preparer.step(now=fleet.now):
            pass
        tick(fleet)
        assert fleet.rollout(rollout).trouble == "ValueError: a defect"
    fleet.preparer.step(now=fleet.now)  # it waits for a step
    fleet.settle()
    tick(fleet)
    assert fleet.rollout(rollout).trouble is None
    assert set(fleet.states(rollout).values()) == {"committed"}


def test_a_count_that_is_wrong_does_not_keep_anything_from_being_taken_back(fleet: LocalFleet) -> None:
    rollout = ring(fleet, "x", "1.0.0")
    fleet.hand_outs.hand_out(now=fleet.now)
    with fleet.store.write() as tx:
        ghost = member_counts.CountedAs(0, MemberState.PREPARED.value, met=False)
        member_counts.change(tx, rollout, before={}, after={ghost: 2})
    fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    for _ in range(9):
        fleet.hand_outs.take_back(now=fleet.now)
    assert fleet.rollout(rollout).taken_back is None
    with fleet.store.read() as tx:
        assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)


def test_rollouts_take_turns_in_telling_and_in_taking_back(fleet: LocalFleet) -> None:
    first, second = ring(fleet, "x", "1.0.0"), ring(fleet, "y", "2.0.0")
    told = [fleet.hand_outs.hand_out(now=fleet.now)[0] for _ in range(4)]
    assert [name in NAMES[:2] for name in told] == [True, False, True, False]
    for rollout in (first, second):
        fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    back = [(fleet.hand_outs.take_back(now=fleet.now) or [""])[0] for _ in range(4)]
    assert [name in NAMES[:2] for name in back] == [True, False, True, False]


def test_who_is_told_by_one_rollout_is_prepared_by_no_other_any_more(fleet: LocalFleet) -> None:
    paused = ring(fleet, "x", "1.0.0")
    fleet.operations.pause(paused, actor=ANN, reason="x", limit_s=1e6, now=fleet.now)
    with fleet.store.write() as tx:
        devices.set_labels(tx, "cam-0", {"ring": "y"})
    ring(fleet, "y", "2.0.0")
    fleet.settle()
    member = fleet.members(paused)["cam-0"]
    assert (member.state, member.reason) == (MemberState.EXCUSED, "superseded")
    fleet.operations.resume(paused, actor=ANN, now=fleet.now)
    fleet.settle()
    assert [fleet.running(name) for name in NAMES] == ["2.0.0", "1.0.0", "2.0.0", "2.0.0"]


@pytest.mark.parametrize("halted", [False, True], ids=["told", "taken back"])
def test_a_member_that_cannot_be_read_hides_nobody(fleet: LocalFleet, halted: bool) -> None:
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    if halted:
        while fleet.hand_outs.hand_out(now=fleet.now):
            pass
        fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    with fleet.store.write() as tx:
        tx.execute(update(members).where(members.c.device == "cam-0").values(previous_json="{"))
    for _ in range(3):
        fleet.settle()
    with fleet.store.write() as tx:
        tx.execute(update(members).where(members.c.device == "cam-0").values(previous_json="null"))
        assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)
    states = fleet.states(rollout)
    assert states.pop("cam-0") == "excused"
    assert set(states.values()) == {"withdrawn" if halted else "committed"}
    assert fleet.rollout(rollout).state is (RolloutState.HALTED if halted else RolloutState.FINISHED)
