"""Rollouts that wait: in a pause and for a person, with an end to each, over restarts and leaps of the clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm import requirements
from edgemm.errors import ConflictError
from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import APPROVAL, Group
from edgemm_fleet.records.waiting import WAITS, RolloutWait, WaitKind
from edgemm_fleet.rollout.machine import OPEN_STATES
from edgemm_fleet.store import audit, dates, rollouts
from simulators.broker import MODEL, LocalFleet, digest_of
from simulators.device import Outcome

DAY_S, ANN, BEN = 86400.0, "person:ann", "person:ben"
FIRST = Group(count=1, deadline_s=600, soak_s=50)
REST = Group(percent=100, deadline_s=600)
WITH_APPROVAL = (replace(FIRST, soak_s=0), replace(REST, approve=True))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    """Three devices that run version 1."""
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-0", "cam-1", "cam-2")
    fleet.run("1.0.0", REST)
    yield fleet
    fleet.store.close()


def pause(fleet: LocalFleet, rollout: str, *, reason: str = "a storm", limit_s: float = 7 * DAY_S) -> None:
    fleet.operations.pause(rollout, actor=ANN, reason=reason, limit_s=limit_s, now=fleet.now)


def resume(fleet: LocalFleet, rollout: str) -> None:
    fleet.operations.resume(rollout, actor=ANN, now=fleet.now)
    fleet.settle()


def go_on(fleet: LocalFleet, rollout: str, after: int | None = None) -> None:
    fleet.operations.go_on(rollout, after=after, actor=ANN, now=fleet.now)
    fleet.settle()


def acts(fleet: LocalFleet, rollout: str) -> list[tuple[str, str]]:
    with fleet.store.read() as tx:
        lines = [one for one in audit.page(tx).items if one.subject == rollout]
    return [(one.action, one.detail) for one in reversed(lines)]


def test_a_pause_tells_nobody_more_and_what_is_left_of_a_soak_is_left_afterwards(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", FIRST, REST)
    fleet.wait(20)
    pause(fleet, rollout)
    fleet.wait(DAY_S)
    assert fleet.rollout(rollout).state is RolloutState.PAUSED
    assert len(fleet.members(rollout)) == 1
    resume(fleet, rollout)
    fleet.wait(29)
    assert len(fleet.members(rollout)) == 1, "30 of the soak's 50 s are left"
    fleet.wait(1)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert acts(fleet, rollout)[-2:] == [("rollout.pause", "for 7 d: a storm"), ("rollout.resume", "after 1 d")]


def test_who_was_told_before_a_pause_finishes_in_it(fleet: LocalFleet) -> None:
    for name in ("cam-0", "cam-1"):
        fleet.devices[name].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    fleet.devices["cam-2"].silent = True
    rollout = fleet.run("2.0.0", REST)
    pause(fleet, rollout)
    fleet.deliver(fleet.devices["cam-0"].finish(MODEL))
    fleet.connect("cam-2")
    assert fleet.states(rollout) == {"cam-0": "committed", "cam-1": "reached", "cam-2": "committed"}
    fleet.wait(DAY_S)
    assert fleet.states(rollout)["cam-1"] == "reached", "its deadline stands still"
    resume(fleet, rollout)
    fleet.wait(599)
    assert fleet.states(rollout)["cam-1"] == "reached"
    fleet.wait(1)
    assert fleet.states(rollout)["cam-1"] == "failed"


def test_what_is_activating_keeps_its_own_deadline_in_a_pause_and_thresholds_halt(fleet: LocalFleet) -> None:
    fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.HANG
    fleet.devices["cam-1"].silent = True
    rollout = fleet.run("2.0.0", REST)
    assert fleet.states(rollout)["cam-0"] == "activating"
    pause(fleet, rollout)
    fleet.wait(fleet.rollout(rollout).plan.activation_s - 1)
    assert fleet.states(rollout)["cam-1"] == "pending"
    fleet.wait(1)
    assert fleet.states(rollout)["cam-0"] == "failed"
    found = fleet.rollout(rollout)
    assert (found.state, found.waiting) == (RolloutState.HALTED, None)
    assert found.reason is not None
    assert "too many errors" in found.reason


def test_a_soak_that_breaks_off_in_a_pause_begins_anew_after_it(fleet: LocalFleet) -> None:
    tolerant = replace(FIRST, count=3, error_threshold=0.5, success_threshold=0.6)
    fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", tolerant)
    pause(fleet, rollout)
    lost = fleet.devices["cam-1"]
    kept = lost.reported[MODEL]
    lost.reported[MODEL] = replace(kept, active_digest=digest_of("1.0.0"))
    fleet.deliver([lost.report()])
    assert fleet.states(rollout)[lost.id] == "failed"
    assert fleet.rollout(rollout).groups[0].met_at is None
    lost.reported[MODEL] = kept
    fleet.deliver([lost.report()])
    fleet.wait(100)
    resume(fleet, rollout)
    fleet.wait(49)
    assert fleet.rollout(rollout).groups[0].passed_at is None, "the soak began when the pause was over"
    fleet.wait(1)
    assert fleet.rollout(rollout).groups[0].passed_at == fleet.now


def test_a_pause_that_nobody_ends_halts(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", FIRST, REST)
    pause(fleet, rollout, limit_s=3600)
    fleet.wait(3599)
    assert fleet.rollout(rollout).state is RolloutState.PAUSED
    fleet.restart()
    fleet.wait(1)
    found = fleet.rollout(rollout)
    assert (found.state, found.reason) == (RolloutState.HALTED, "pause_expired: it waited for 1 h: a storm")
    with pytest.raises(ConflictError, match="is halted: only one that is paused can be resumed"):
        resume(fleet, rollout)


def test_pausing_resuming_and_going_on_again_change_nothing(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", FIRST, REST)
    for _ in range(2):
        pause(fleet, rollout)
        fleet.now += 5
    fleet.restart()
    assert fleet.rollout(rollout).waiting == RolloutWait.begun(WaitKind.PAUSE, reason="a storm", now=fleet.now - 10)
    for _ in range(2):
        resume(fleet, rollout)
    for _ in range(2):
        go_on(fleet, rollout, after=0)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    go_on(fleet, rollout, after=1)
    names = [name for name, _ in acts(fleet, rollout)]
    assert names == ["rollout.create", "rollout.start", "rollout.pause", "rollout.resume", "rollout.next"]


@pytest.mark.parametrize("state", ["draft", "halted", "canceled", "finished"])
def test_what_does_not_run_can_neither_be_paused_nor_resumed(fleet: LocalFleet, state: str) -> None:
    rollout = fleet.operations.create(fleet.plan("2.0.0", REST), actor=ANN, now=fleet.now).id
    if state != "draft":
        fleet.operations.start(rollout, actor=ANN, now=fleet.now)
    if state == "halted":
        fleet.operations.halt(rollout, actor=ANN, reason="", now=fleet.now)
    if state == "canceled":
        fleet.operations.cancel(rollout, actor=ANN, now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state == state
    step = f"edgemm fleet rollout {f'start {rollout}' if state == 'draft' else 'create'}"
    with pytest.raises(ConflictError, match=f"is {state}, it cannot become paused.*next: .*{step}"):
        pause(fleet, rollout)
    with pytest.raises(ConflictError, match=f"is {state}: only one that is paused"):
        resume(fleet, rollout)
    if state != "draft":
        with pytest.raises(ConflictError, match=f"is {state}, it cannot become ready.*next: .*{step}"):
            fleet.operations.start(rollout, actor=ANN, now=fleet.now)


def test_next_ends_a_soak_and_no_threshold(fleet: LocalFleet) -> None:
    for device in fleet.devices.values():
        device.outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", FIRST, REST)
    with pytest.raises(ConflictError, match="group 1 has not reached its success threshold: of 1 devices 1 reported"):
        go_on(fleet, rollout)
    with pytest.raises(ConflictError, match="group 2 has not begun"):
        go_on(fleet, rollout, after=1)
    (first,) = fleet.members(rollout)
    fleet.deliver(fleet.devices[first].finish(MODEL))
    pause(fleet, rollout)
    with pytest.raises(ConflictError, match=f"is paused, .* edgemm fleet rollout resume {rollout}"):
        go_on(fleet, rollout)
    resume(fleet, rollout)
    go_on(fleet, rollout)
    assert len(fleet.members(rollout)) == 3
    for name in fleet.devices:
        fleet.deliver(fleet.devices[name].finish(MODEL))
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_a_group_that_needs_approval_waits_for_a_person(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", *WITH_APPROVAL)
    found = fleet.rollout(rollout)
    assert (found.state, len(fleet.members(rollout))) == (RolloutState.RUNNING, 1)
    reason = "group 1 is through, and group 2 needs a person's approval"
    assert found.waiting == RolloutWait.begun(WaitKind.PERSON, reason=reason, now=fleet.now)
    fleet.wait(DAY_S)
    go_on(fleet, rollout, after=0)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert fleet.rollout(rollout).waiting is None


def test_a_person_who_does_not_decide_halts_it_and_a_pause_takes_none_of_the_time(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", *WITH_APPROVAL)
    fleet.wait(DAY_S)
    pause(fleet, rollout)
    fleet.wait(3 * DAY_S)
    resume(fleet, rollout)
    fleet.restart()
    fleet.wait(6 * DAY_S - 1)
    assert fleet.rollout(rollout).state is RolloutState.RUNNING
    fleet.wait(1)
    found = fleet.rollout(rollout)
    assert found.state is RolloutState.HALTED
    assert (found.reason or "").startswith("nobody_decided: it waited for 10 d: group 1 is through")
    assert {fleet.wanted(name) for name in fleet.devices} == {"1.0.0", "2.0.0"}


def test_a_failure_while_a_person_is_waited_for_halts(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", *WITH_APPROVAL)
    (first,) = fleet.members(rollout)
    device = fleet.devices[first]
    device.reported[MODEL] = replace(device.reported[MODEL], active_digest=digest_of("1.0.0"))
    fleet.deliver([device.report()])
    assert fleet.rollout(rollout).state is RolloutState.HALTED


def test_two_who_start_the_next_group_start_one(fleet: LocalFleet) -> None:
    groups = (replace(FIRST, soak_s=0), replace(FIRST, soak_s=0, approve=True), replace(REST, approve=True))
    rollout = fleet.run("2.0.0", *groups)
    for actor in (ANN, BEN):
        fleet.operations.go_on(rollout, after=0, actor=actor, now=fleet.now)
        fleet.settle()
    assert len(fleet.members(rollout)) == 2
    assert [detail for act, detail in acts(fleet, rollout) if act == "rollout.next"] == ["after group 1"]


@pytest.mark.parametrize("seed", range(6))
def test_two_who_pause_and_halt_at_once_end_in_halted(fleet: LocalFleet, seed: int) -> None:
    rollout = fleet.run("2.0.0", FIRST, REST)
    together, refused = threading.Barrier(2), []

    def act(name: str) -> None:
        together.wait()
        try:
            if name == "pause":
                fleet.operations.pause(rollout, actor=ANN, reason="x", limit_s=60, now=fleet.now)
            else:
                fleet.operations.halt(rollout, actor=BEN, reason="y", now=fleet.now)
        except ConflictError as err:
            refused.append(str(err))

    names = ["pause", "halt"] if seed % 2 else ["halt", "pause"]
    threads = [threading.Thread(target=act, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = fleet.rollout(rollout)
    assert (found.state, found.reason, found.waiting) == (RolloutState.HALTED, "y", None)
    assert all("is halted, it cannot become paused" in text for text in refused)
    fleet.wait(DAY_S)
    assert fleet.rollout(rollout).state is RolloutState.HALTED


def test_a_paused_rollout_can_be_rolled_back_canceled_and_superseded(fleet: LocalFleet) -> None:
    first = fleet.run("2.0.0", FIRST, REST)
    pause(fleet, first)
    with pytest.raises(ConflictError, match=f"rollout {first} of .* runs"):
        fleet.run("3.0.0", REST)
    second = fleet.run("3.0.0", FIRST, REST, supersedes=first)
    assert fleet.rollout(first).state is RolloutState.CANCELED
    pause(fleet, second)
    fleet.operations.roll_back(second, actor=ANN, now=fleet.now)
    fleet.settle()
    assert (fleet.rollout(second).state, fleet.rollout(second).waiting) == (RolloutState.ROLLED_BACK, None)
    third = fleet.run("2.0.0", FIRST, REST)
    pause(fleet, third)
    fleet.operations.cancel(third, actor=ANN, now=fleet.now)
    assert fleet.rollout(third).state is RolloutState.CANCELED


def test_a_leap_of_the_clock_takes_no_time_from_a_pause(fleet: LocalFleet) -> None:
    fleet.devices["cam-0"].silent = True
    rollout = fleet.run("2.0.0", REST)
    pause(fleet, rollout, limit_s=3600)
    fleet.now += 1000
    with fleet.store.write() as tx:
        dates.shift(tx, OPEN_STATES, by_s=30 * DAY_S)
    fleet.now += 30 * DAY_S
    fleet.wait(0)
    assert fleet.rollout(rollout).state is RolloutState.PAUSED
    resume(fleet, rollout)
    fleet.wait(599)
    assert fleet.states(rollout)["cam-0"] == "pending"
    fleet.wait(1)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_a_pause_by_a_clock_that_was_ahead_ends_all_the_same(fleet: LocalFleet) -> None:
    fleet.now += 400 * DAY_S
    rollout = fleet.run("2.0.0", FIRST, REST)
    pause(fleet, rollout, limit_s=3600)
    fleet.now -= 400 * DAY_S
    fleet.wait(0)
    waiting = fleet.rollout(rollout).waiting
    assert waiting is not None
    assert (waiting.since, waiting.until) == (fleet.now, fleet.now + 3600)
    fleet.wait(3600)
    assert fleet.rollout(rollout).state is RolloutState.HALTED


def test_a_kind_of_waiting_that_is_not_known_starts_nothing_and_ends(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", FIRST, REST)
    later = RolloutWait(kind=WaitKind("moon"), reason="dark", since=fleet.now, until=fleet.now + 600, then="no_moon")
    with fleet.store.write() as tx:
        rollouts.save(tx, replace(rollouts.get(tx, rollout), waiting=later))
    fleet.wait(599)
    assert (fleet.rollout(rollout).state, len(fleet.members(rollout))) == (RolloutState.RUNNING, 1)
    fleet.wait(1)
    assert fleet.rollout(rollout).reason == "no_moon: it waited for 10 min: dark"


def test_a_plan_with_approval_is_one_that_an_earlier_manager_refuses(fleet: LocalFleet) -> None:
    rollout = fleet.operations.create(fleet.plan("2.0.0", *WITH_APPROVAL), actor=ANN, now=fleet.now)
    assert rollout.plan.requires == (APPROVAL,)
    assert requirements.unknown(rollout.plan.requires) == (APPROVAL,), "which is what an earlier one asks"
    assert rollout.plan.unknown == ()
    dropped = replace(rollout.plan, groups=(FIRST, REST))
    assert dropped.unknown == (APPROVAL,), "the field was lost on the way"


def test_a_device_that_is_removed_leaves_a_paused_rollout(fleet: LocalFleet) -> None:
    for device in fleet.devices.values():
        device.silent = True
    rollout = fleet.run("2.0.0", REST)
    pause(fleet, rollout)
    with fleet.store.write() as tx:
        fleet.operations.leave(tx, "cam-0", now=fleet.now)
    assert fleet.states(rollout)["cam-0"] == "excused"


def test_every_kind_of_waiting_has_a_limit_and_an_end() -> None:
    assert set(WAITS) == set(WaitKind)


def test_half_of_a_thousand_devices_offline_neither_hang_nor_halt(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    for number in range(1000):
        fleet.add(f"cam-{number:04}", online=number % 2 == 0)
    groups = (Group(count=10), Group(percent=10), Group(percent=100, approve=True, min_reached=0.4))
    rollout = fleet.run("1.0.0", *(replace(group, deadline_s=600) for group in groups))
    waiting = fleet.rollout(rollout).waiting
    assert waiting is not None
    go_on(fleet, rollout, after=1)
    pause(fleet, rollout)
    fleet.wait(DAY_S)
    assert fleet.rollout(rollout).state is RolloutState.PAUSED
    resume(fleet, rollout)
    fleet.wait(600)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    states = list(fleet.states(rollout).values())
    assert (states.count("committed"), states.count("timed_out")) == (500, 500)
    fleet.store.close()
