"""Ways back from rollouts that are handed out in parts: of whom was told, and what came in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edgemm.states import RolloutState, UpdateState
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.rollout import preconditions
from edgemm_fleet.store import desired, rollouts
from simulators.broker import LocalFleet, digest_of
from simulators.device import Outcome

ANN, NAMES = "person:ann", ("cam-0", "cam-1", "cam-2")
EVERYBODY = Group(percent=100, deadline_s=600)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES)
    fleet.run("1.0.0", EVERYBODY)
    yield fleet
    fleet.store.close()


def both(fleet: LocalFleet) -> dict[str, tuple[str | None, str | None]]:
    return {name: (fleet.running(name), fleet.wanted(name)) for name in fleet.devices}


def test_who_was_never_told_keeps_what_another_rollout_brought_it(fleet: LocalFleet) -> None:
    fleet.run("2.0.0", EVERYBODY)
    fleet.add("cam-3")
    again = fleet.start(fleet.plan("2.0.0", EVERYBODY))
    assert set(fleet.states(again).values()) == {"prepared"}
    fleet.operations.roll_back(again, actor=ANN, now=fleet.now)
    fleet.settle()
    assert fleet.rollout(again).state is RolloutState.ROLLED_BACK
    assert both(fleet) == dict.fromkeys(NAMES, ("2.0.0", "2.0.0")) | {"cam-3": (None, None)}


def unheard_in_group_1(fleet: LocalFleet) -> str:
    """Have a device commit 2.0.0, be heard of too late, and be prepared for the last group."""
    fleet.disturb = lambda messages: [one for one in messages if "/cam-0/" not in one.topic]
    rollout = fleet.run("2.0.0", Group(count=3, deadline_s=100, min_reached=0.1, soak_s=150), EVERYBODY)
    for _ in range(2):
        fleet.now += 101
        fleet.runner.tick(fleet.store, now=fleet.now)
    assert fleet.states(rollout)["cam-0"] == "prepared"
    fleet.disturb = list
    fleet.deliver(fleet.devices["cam-0"].connect())
    return rollout


def test_who_is_told_again_and_has_the_version_gets_back_what_it_ran_before(fleet: LocalFleet) -> None:
    rollout = unheard_in_group_1(fleet)
    fleet.operations.roll_back(rollout, actor=ANN, now=fleet.now)
    fleet.settle()
    assert both(fleet) == dict.fromkeys(NAMES, ("1.0.0", "1.0.0"))


def test_who_was_told_again_and_has_the_version_gets_back_what_it_ran_before(fleet: LocalFleet) -> None:
    rollout = unheard_in_group_1(fleet)
    fleet.hand_out()
    fleet.operations.roll_back(rollout, actor=ANN, now=fleet.now)
    fleet.settle()
    assert both(fleet) == dict.fromkeys(NAMES, ("1.0.0", "1.0.0"))


def test_a_roll_back_takes_back_what_is_handed_out_while_it_looks(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", EVERYBODY))
    looks = preconditions.check_way_back

    def hand_out_after(*looked_at: Any) -> bool:
        found = looks(*looked_at)
        assert fleet.hand_outs.hand_out(now=fleet.now)
        return found

    monkeypatch.setattr(preconditions, "check_way_back", hand_out_after)
    fleet.operations.roll_back(rollout, actor=ANN, now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert fleet.rollout(rollout).reason == "rolled back"
    assert both(fleet) == dict.fromkeys(NAMES, ("1.0.0", "1.0.0"))


def test_who_was_activating_at_a_halt_and_lost_power_has_the_version_taken_back(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-0"]
    device.outcomes[digest_of("2.0.0")] = Outcome.HANG
    rollout = fleet.run("2.0.0", EVERYBODY)
    fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    fleet.settle()
    assert fleet.states(rollout)["cam-0"] == "activating"
    assert fleet.rollout(rollout).taken_back is None
    device.restart()
    device.reported["digits"] = replace(device.reported["digits"], state=UpdateState.STAGED)
    fleet.deliver(device.connect())
    fleet.settle()
    member = fleet.members(rollout)["cam-0"]
    assert (member.state, member.deadline_at) == (MemberState.WITHDRAWN, None)
    assert fleet.wanted("cam-0") == "1.0.0"


@pytest.mark.parametrize("act", ["halt", "roll back"])
def test_nothing_of_a_version_gets_out_while_an_error_keeps_it_from_being_taken_back(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", EVERYBODY))
    assert len(fleet.hand_outs.hand_out(now=fleet.now)) == len(NAMES)  # noted as told, and not sent
    if act == "halt":
        fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    else:
        fleet.operations.roll_back(rollout, actor=ANN, now=fleet.now)
    monkeypatch.setattr(fleet.runner, "take_back", fail)
    monkeypatch.setattr(fleet.runner, "revert", fail)
    assert fleet.hand_outs.take_back(now=fleet.now) is None
    with fleet.store.read() as tx:
        waiting = desired.unsent(tx, limit=100)
    assert len(waiting) == len(NAMES)
    assert fleet.hand_outs.withheld(waiting) == set(NAMES)
    monkeypatch.undo()
    fleet.now += 2
    fleet.settle()
    assert both(fleet) == dict.fromkeys(NAMES, ("1.0.0", "1.0.0"))


def test_who_committed_a_version_that_is_halted_is_sent_other_things(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", EVERYBODY)
    with fleet.store.write() as tx:
        rollouts.save(tx, replace(rollouts.get(tx, rollout), state=RolloutState.HALTED, taken_back=""))
        found = [one.desired for one in desired.of(tx, NAMES).values()]
    assert fleet.hand_outs.withheld(found) == set()


def fail(*_: Any, **__: Any) -> None:
    raise ValueError("a defect")
