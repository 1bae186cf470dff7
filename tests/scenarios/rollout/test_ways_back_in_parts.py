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
