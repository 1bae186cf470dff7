"""A rollout that reaches nobody is no success, and a device that was removed is in no group any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.errors import ConflictError, NotFoundError
from edgemm.messages import ModelConfig, Probation
from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.store import devices, rollouts
from simulators.broker import MODEL, LocalFleet, digest_of
from simulators.device import Outcome

CANARY = Group(count=1, deadline_s=100)
EVERYBODY = Group(percent=100, deadline_s=100)
HERE = Selector(labels={"site": ("here",)})


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    return LocalFleet(tmp_path)


def remove(fleet: LocalFleet, *names: str) -> None:
    """Remove devices as the API does."""
    for name in names:
        with fleet.store.write() as tx:
            devices.remove(tx, name, now=fleet.now)
            fleet.operations.leave(tx, name, now=fleet.now)
        fleet.devices[name].silent = True
    fleet.settle()


def label(fleet: LocalFleet, name: str, **labels: str) -> None:
    with fleet.store.write() as tx:
        devices.set_labels(tx, name, labels)


def hang(fleet: LocalFleet, *names: str, version: str = "1.0.0") -> None:
    for name in names:
        fleet.devices[name].outcomes[digest_of(version)] = Outcome.HANG


def end(fleet: LocalFleet, rollout: str) -> tuple[str, str | None]:
    found = fleet.rollout(rollout)
    return found.state.value, found.reason


@pytest.mark.parametrize(
    ("selector", "why"),
    [(Selector(), "no device is enrolled in this fleet"), (HERE, "no device matches site=here")],
)
def test_what_matches_nobody_is_not_started(fleet: LocalFleet, selector: Selector, why: str) -> None:
    if selector == HERE:
        fleet.add("cam-0", site="there")
    with pytest.raises(ConflictError, match=f"{why}, so there is nothing to do and nothing was begun"):
        fleet.run("1.0.0", EVERYBODY, selector=selector)
    with fleet.store.read() as tx:
        assert not list(rollouts.page(tx).items), "no draft of it is left"
    allowed = fleet.run("1.0.0", EVERYBODY, selector=selector, allow_empty=True)
    assert end(fleet, allowed) == ("finished", None)


def test_a_draft_may_be_of_devices_that_are_still_to_come(fleet: LocalFleet) -> None:
    plan = fleet.plan("1.0.0", EVERYBODY, allow_empty=True)
    draft = fleet.operations.create(plan, actor="person:ann", now=fleet.now).id
    fleet.add("cam-0")
    fleet.operations.start(draft, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert end(fleet, draft) == ("finished", None)


def test_a_device_that_is_named_has_to_be_there(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    with pytest.raises(NotFoundError, match="no device 'cam-9' in this fleet"):
        fleet.run("1.0.0", EVERYBODY, selector=Selector(devices=("cam-0", "cam-9")))


def test_what_everybody_has_already_is_not_started(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    fleet.run("1.0.0", EVERYBODY)
    probation = ModelConfig(probation=Probation(min_duration_s=1.0))
    with pytest.raises(ConflictError, match="all 2 devices that match have it already"):
        fleet.run("1.0.0", EVERYBODY, config=probation)
    again = fleet.run("1.0.0", EVERYBODY, config=ModelConfig(threads=2))
    assert end(fleet, again) == ("finished", None), "another number of threads is something to do"
    fleet.add("cam-2")
    assert end(fleet, fleet.run("1.0.0", EVERYBODY, config=ModelConfig(threads=2))) == ("finished", None)


def test_a_later_group_that_nobody_matches_halts(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1", site="here")
    hang(fleet, "cam-0", "cam-1")
    rollout = fleet.run("1.0.0", CANARY, EVERYBODY, selector=HERE)
    [canary] = fleet.states(rollout)
    for name in ("cam-0", "cam-1"):
        label(fleet, name, site="there")
    fleet.deliver(fleet.devices[canary].finish(MODEL))
    fleet.settle()
    assert end(fleet, rollout) == ("halted", "group 2: no device matches site=here")


def test_a_later_group_for_which_nobody_is_left_is_through(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    rollout = fleet.run("1.0.0", CANARY, Group(percent=10, deadline_s=100), EVERYBODY)
    assert end(fleet, rollout) == ("finished", None)
    assert [group.matching for group in fleet.rollout(rollout).groups] == [1, 1, 1]


def test_a_group_whose_devices_were_all_removed_proves_nothing(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1", "cam-2")
    hang(fleet, "cam-0", "cam-1", "cam-2")
    rollout = fleet.run("1.0.0", CANARY, EVERYBODY)
    remove(fleet, *fleet.states(rollout))
    nobody = "group 1: each of its devices was removed from the fleet; excused: removed (1): cam-0"
    [canary] = fleet.states(rollout)
    assert end(fleet, rollout) == ("halted", nobody.replace("cam-0", canary))
    assert len(fleet.states(rollout)) == 1, "the next group did not start"


def test_a_removed_device_leaves_its_group_at_once(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1", "cam-2", "cam-3")
    for name in ("cam-2", "cam-3"):
        fleet.devices[name].silent = True
    rollout = fleet.run("1.0.0", Group(percent=100, min_reached=1.0, deadline_s=1e6))
    assert end(fleet, rollout) == ("running", None)
    remove(fleet, "cam-2", "cam-3")
    assert end(fleet, rollout) == ("finished", None), "two of two, and not of four; and no deadline is waited for"
    left = fleet.members(rollout)["cam-2"]
    assert (left.state, left.reason, left.deadline_at, left.update_state) == ("excused", "removed", None, None)


def test_what_a_device_showed_before_it_was_removed_still_counts(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    fleet.devices["cam-0"].outcomes[digest_of("1.0.0")] = Outcome.SELFTEST_FAILED
    hang(fleet, "cam-1")
    rollout = fleet.run("1.0.0", Group(percent=100, error_threshold=0.6, success_threshold=0.4, deadline_s=100))
    remove(fleet, "cam-0")
    assert fleet.states(rollout)["cam-0"] == "failed"


def test_what_was_too_late_for_a_rollout_that_is_over_stays_so(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    fleet.devices["cam-1"].silent = True
    rollout = fleet.run("1.0.0", EVERYBODY)
    fleet.wait(200)
    assert end(fleet, rollout) == ("finished", None)
    remove(fleet, "cam-1")
    assert fleet.states(rollout) == {"cam-0": "committed", "cam-1": "timed_out"}


def test_a_roll_back_does_not_wait_for_what_was_removed(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    rollout = fleet.run("1.0.0", EVERYBODY)
    fleet.devices["cam-0"].silent = True
    fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLING_BACK
    remove(fleet, "cam-0")
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK


def test_a_roll_back_of_what_nobody_has_says_so(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    first = fleet.run("1.0.0", EVERYBODY)
    fleet.run("2.0.0", EVERYBODY)
    fleet.operations.roll_back(first, actor="person:ann", now=fleet.now)
    nothing = "nothing to bring back: no device has this rollout's version any more"
    assert end(fleet, first) == ("rolled_back", nothing)


def test_a_device_that_was_let_in_again_is_taken_by_the_next_group(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    hang(fleet, "cam-0", "cam-1")
    rollout = fleet.run("1.0.0", Group(count=2, min_reached=0.1, success_threshold=0.1, deadline_s=100), EVERYBODY)
    remove(fleet, "cam-0")
    with fleet.store.write() as tx:
        back = devices.get(tx, "cam-0")
        devices.readmit(tx, back, bearer_hash="other", broker_hash="other")
    fleet.devices["cam-0"].silent = False
    fleet.deliver(fleet.devices["cam-1"].finish(MODEL))
    fleet.settle()
    assert set(fleet.states(rollout)) == {"cam-0", "cam-1"}
    assert fleet.members(rollout)["cam-0"].group == 1
