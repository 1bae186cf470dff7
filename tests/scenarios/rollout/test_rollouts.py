"""Rollouts over the real store, ingest and director, with simulated devices: what happened → who runs what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select, update

from edgemm.errors import BadRequestError, ConflictError, NotFoundError
from edgemm.messages import MAX_MODELS, DesiredModel
from edgemm.states import RolloutState, UpdateState
from edgemm_fleet.records.members import Member
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout import judgement, machine
from edgemm_fleet.store import assignments, devices, models, reported, schema
from simulators.broker import MODEL, LocalFleet, digest_of
from simulators.device import Outcome, SimulatedDevice

CANARY = Group(count=1)
EVERYBODY = Group(percent=100)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    yield fleet
    fleet.store.close()


def five_on_version_1(fleet: LocalFleet) -> list[str]:
    names = [f"cam-{n}" for n in range(5)]
    fleet.add(*names)
    fleet.run("1.0.0", EVERYBODY)
    assert {fleet.running(name) for name in names} == {"1.0.0"}
    fleet.sent.clear()
    return names


def end_as(fleet: LocalFleet, version: str, outcome: Outcome, *names: str) -> None:
    for name in names or fleet.devices:
        fleet.devices[name].outcomes[digest_of(version)] = outcome


def test_a_good_version_reaches_everybody_group_after_group(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    rollout = fleet.run("2.0.0", CANARY, Group(percent=60), EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert {fleet.running(name) for name in names} == {"2.0.0"}
    assert sorted(member.group for member in fleet.members(rollout).values()) == [0, 1, 1, 2, 2]


def test_a_canary_that_fails_halts_the_rollout_and_nobody_else_is_touched(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SELFTEST_FAILED)
    rollout = fleet.run("2.0.0", CANARY, EVERYBODY)
    stored = fleet.rollout(rollout)
    assert stored.state is RolloutState.HALTED
    (canary,) = fleet.states(rollout)
    assert stored.reason == (
        f"group 1: too many errors; of 1 devices 1 reported, 0 committed, 1 failed: selftest_failed (1): {canary}"
    )
    assert list(fleet.states(rollout).values()) == ["failed"]
    assert set(fleet.sent) == set(fleet.states(rollout))
    assert {fleet.running(name) for name in names} == {"1.0.0"}


def test_a_halt_tells_the_reasons_of_its_devices_with_counts_and_what_one_of_each_said(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SELFTEST_FAILED, "cam-0", "cam-1", "cam-2")
    end_as(fleet, "2.0.0", Outcome.DAMAGED, "cam-3")
    end_as(fleet, "2.0.0", Outcome.NO_SPACE, "cam-4")
    for name in names[1:]:
        fleet.devices[name].detail = f"output probs: expected 0.25,\nfound {name}"
    rollout = fleet.start(fleet.plan("2.0.0", Group(percent=100, error_threshold=0.75, success_threshold=0.5)))
    fleet.settle()
    assert fleet.rollout(rollout).reason == (
        "group 1: too many errors; of 5 devices 5 reported, 0 committed, 4 failed: "
        "selftest_failed (3): cam-1: output probs: expected 0.25, found cam-1; "
        "damaged (1): cam-3: output probs: expected 0.25, found cam-3; "
        "excused: no_space (1): cam-4: output probs: expected 0.25, found cam-4"
    )
    assert fleet.members(rollout)["cam-3"].detail == "output probs: expected 0.25,\nfound cam-3"


def test_a_version_that_turns_itself_back_in_probation_halts(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.ERRORS)
    rollout = fleet.run("2.0.0", CANARY, EVERYBODY)
    (member,) = fleet.members(rollout).values()
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert (member.update_state, member.reason) == (UpdateState.ROLLED_BACK, "errors")


def test_a_halt_takes_the_version_back_from_devices_that_have_not_begun_to_activate(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD, "cam-0", "cam-1")
    end_as(fleet, "2.0.0", Outcome.HANG, "cam-2")
    end_as(fleet, "2.0.0", Outcome.DAMAGED, "cam-3", "cam-4")
    rollout = fleet.run("2.0.0", EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert fleet.states(rollout) == {
        "cam-0": "withdrawn",
        "cam-1": "withdrawn",
        "cam-2": "activating",
        "cam-3": "failed",
        "cam-4": "failed",
    }
    assert [fleet.wanted(name) for name in names[:3]] == ["1.0.0", "1.0.0", "2.0.0"]
    fleet.deliver(fleet.devices["cam-2"].finish("digits"))
    assert fleet.states(rollout)["cam-2"] == "committed", "a device that was activating finishes and reports"
    assert fleet.rollout(rollout).state is RolloutState.HALTED


@pytest.mark.parametrize("outcome", [Outcome.SELFTEST_FAILED, Outcome.ERRORS, Outcome.DAMAGED, Outcome.NO_SPACE])
def test_after_a_halt_nothing_is_wanted_of_a_device_but_what_it_runs(fleet: LocalFleet, outcome: Outcome) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", outcome)
    rollout = fleet.run("2.0.0", CANARY, EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    (name,) = fleet.states(rollout)
    assert fleet.wanted(name) == "1.0.0"
    canary = fleet.devices[name]
    canary.restart()  # and it has lost what it knew of failures
    canary._failed.clear()
    before = list(canary.installs)
    fleet.connect(name)
    assert (fleet.running(name), canary.installs) == ("1.0.0", before)
    assert fleet.states(rollout) == {name: "excused" if outcome is Outcome.NO_SPACE else "failed"}


def test_a_first_version_that_failed_is_wanted_no_more_after_the_halt(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    end_as(fleet, "1.0.0", Outcome.ERRORS)
    rollout = fleet.run("1.0.0", EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert (fleet.wanted("cam-0"), fleet.running("cam-0")) == (None, None)


def test_a_device_that_was_activating_at_the_halt_and_fails_later_is_wanted_to_keep_what_it_runs(
    fleet: LocalFleet,
) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.DAMAGED)
    end_as(fleet, "2.0.0", Outcome.HANG, "cam-0", "cam-1")
    rollout = fleet.run("2.0.0", EVERYBODY, activation_deadline_s=4000)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert [fleet.wanted(name) for name in ("cam-0", "cam-1")] == ["2.0.0"] * 2
    fleet.deliver([fleet.devices["cam-0"].turn_back("digits", reason="errors")])
    fleet.settle()
    assert (fleet.states(rollout)["cam-0"], fleet.wanted("cam-0")) == ("failed", "1.0.0")
    fleet.wait(5000)
    assert fleet.members(rollout)["cam-1"].reason == "silent"
    assert fleet.wanted("cam-1") == "2.0.0", "it may have committed: what it says when it is back decides"
    fleet.deliver([fleet.devices["cam-1"].turn_back("digits", reason="power_loss")])
    fleet.settle()
    assert (fleet.states(rollout)["cam-1"], fleet.wanted("cam-1")) == ("failed", "1.0.0")
    assert fleet.members(rollout)["cam-1"].reason == "power_loss"


def test_two_groups_that_err_at_once_halt_once(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.HANG)
    rollout = fleet.run("2.0.0", Group(count=2, success_threshold=0.5, error_threshold=0.4), EVERYBODY)
    good, bad = sorted(fleet.states(rollout))
    fleet.deliver(fleet.devices[good].finish("digits"))
    fleet.settle()
    assert sorted(member.group for member in fleet.members(rollout).values()) == [0, 0, 1, 1, 1]
    failing = [device for name, device in fleet.devices.items() if name != good]
    fleet.deliver([device.turn_back("digits", reason="errors") for device in failing])
    halted = fleet.rollout(rollout)
    assert halted.state is RolloutState.HALTED
    assert sorted(fleet.states(rollout).values()) == ["committed"] + ["failed"] * 4
    assert bad in fleet.states(rollout)
    again = fleet.operations.halt(rollout, actor="person:ann", reason="me too", now=fleet.now + 1)
    assert again == halted, "halting what is halted changes nothing"


def test_a_group_goes_on_at_exactly_its_success_threshold(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SELFTEST_FAILED, "cam-4")
    rollout = fleet.run("2.0.0", Group(percent=100, success_threshold=0.8, error_threshold=0.2))
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert sorted(fleet.states(rollout).values()) == ["committed"] * 4 + ["failed"]


def test_a_group_just_below_its_success_threshold_halts(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SELFTEST_FAILED, "cam-4")
    rollout = fleet.run("2.0.0", Group(percent=100, success_threshold=0.81, error_threshold=0.2))
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert "too few successes" in str(fleet.rollout(rollout).reason)


def _runs(device: SimulatedDevice, version: str | None) -> None:
    active = {"active_digest": digest_of(version) if version else None, "active_version": version}
    device.reported[MODEL] = replace(device.reported[MODEL], **active)


def _turned_back(device: SimulatedDevice) -> None:
    device.turn_back(MODEL, reason="errors")
    _runs(device, "1.0.0")


def _replaced(device: SimulatedDevice) -> None:
    _runs(device, "1.0.0")


def _with_nothing(device: SimulatedDevice) -> None:
    _runs(device, None)


def _forgotten(device: SimulatedDevice) -> None:
    del device.reported[MODEL]


@pytest.mark.parametrize("lose", [_turned_back, _replaced, _with_nothing, _forgotten])
def test_a_version_that_is_lost_while_its_group_soaks_halts(
    fleet: LocalFleet, lose: Callable[[SimulatedDevice], None]
) -> None:
    names = five_on_version_1(fleet)
    rollout = fleet.run("2.0.0", Group(count=1, soak_s=60), EVERYBODY)
    [canary] = fleet.states(rollout)
    assert fleet.states(rollout) == {canary: "committed"}
    lose(fleet.devices[canary])
    fleet.deliver([fleet.devices[canary].report()])
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert str(fleet.rollout(rollout).reason).startswith("group 1: too many errors")
    assert fleet.members(rollout)[canary].reason in {"errors", "active_lost"}
    fleet.wait(100)
    assert [fleet.running(name) for name in names if name != canary] == ["1.0.0"] * 4


def test_a_version_that_is_lost_after_its_group_counts_while_the_rollout_runs(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    rollout = fleet.run("2.0.0", CANARY, Group(count=2, soak_s=60), EVERYBODY)
    canary = next(name for name, member in fleet.members(rollout).items() if member.group == 0)
    _with_nothing(fleet.devices[canary])
    fleet.deliver([fleet.devices[canary].report()])
    assert str(fleet.rollout(rollout).reason).startswith("group 1: too many errors")


def test_a_version_that_comes_back_while_its_group_soaks_counts_again(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    tolerant = Group(count=2, soak_s=60, error_threshold=0.5, success_threshold=0.5)
    rollout = fleet.run("2.0.0", tolerant, EVERYBODY)
    name = next(iter(fleet.states(rollout)))
    device = fleet.devices[name]
    _with_nothing(device)
    fleet.deliver([device.report()])
    assert fleet.states(rollout)[name] == "failed"
    _runs(device, "2.0.0")
    fleet.deliver([device.report()])
    assert fleet.states(rollout)[name] == "committed"
    fleet.wait(100)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_what_a_device_loses_after_the_end_of_the_rollout_is_no_part_of_it(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    rollout = fleet.run("1.0.0", EVERYBODY)
    _with_nothing(fleet.devices["cam-0"])
    fleet.deliver([fleet.devices["cam-0"].report()])
    assert fleet.states(rollout) == {"cam-0": "committed"}


def test_a_group_soaks_before_the_next_begins(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    rollout = fleet.run("2.0.0", Group(count=1, soak_s=60), EVERYBODY)
    assert len(fleet.states(rollout)) == 1
    fleet.wait(59)
    assert len(fleet.states(rollout)) == 1
    fleet.wait(1)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert len(fleet.states(rollout)) == 5


def test_too_few_devices_reached_by_the_deadline_halts(fleet: LocalFleet) -> None:
    fleet.add("here")
    fleet.add("away-1", "away-2", online=False)
    rollout = fleet.run("1.0.0", Group(percent=100, min_reached=0.5, deadline_s=100))
    fleet.wait(99)
    assert fleet.rollout(rollout).state is RolloutState.RUNNING
    fleet.wait(1)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert fleet.states(rollout) == {"away-1": "withdrawn", "away-2": "withdrawn", "here": "committed"}
    assert "too few devices reached" in str(fleet.rollout(rollout).reason)


def test_devices_never_reached_count_in_neither_rate_and_the_last_group_catches_them_up(fleet: LocalFleet) -> None:
    fleet.add("here-1", "here-2")
    fleet.add("away", online=False)
    rollout = fleet.run("1.0.0", Group(percent=100, min_reached=0.6, deadline_s=100, soak_s=150), EVERYBODY)
    fleet.wait(100)
    assert fleet.states(rollout)["away"] == "timed_out"
    assert fleet.wanted("away") is None, "until its group starts again it must not install unobserved"
    fleet.wait(60)
    assert fleet.members(rollout)["away"].group == 1
    assert fleet.states(rollout)["away"] == "pending"
    fleet.connect("away")
    assert fleet.states(rollout)["away"] == "committed"
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_a_device_that_comes_after_the_end_still_gets_the_version(fleet: LocalFleet) -> None:
    fleet.add("here")
    fleet.add("away", online=False)
    rollout = fleet.run("1.0.0", Group(percent=100, deadline_s=100))
    fleet.wait(100)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert fleet.states(rollout) == {"away": "timed_out", "here": "committed"}
    fleet.connect("away")
    assert fleet.running("away") == "1.0.0"
    assert fleet.states(rollout)["away"] == "committed"


def test_a_device_silent_after_activating_fails_at_its_deadline(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    end_as(fleet, "1.0.0", Outcome.HANG)
    rollout = fleet.run("1.0.0", Group(count=1, deadline_s=100), activation_deadline_s=4000)
    fleet.wait(3999)
    assert fleet.states(rollout) == {"cam-0": "activating"}
    fleet.wait(1)
    (member,) = fleet.members(rollout).values()
    assert (member.state, member.reason) == ("failed", "silent")
    assert fleet.rollout(rollout).state is RolloutState.HALTED


def test_a_download_that_never_ends_fails_at_the_groups_deadline(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    end_as(fleet, "1.0.0", Outcome.SLOW_DOWNLOAD)
    rollout = fleet.run("1.0.0", Group(count=1, deadline_s=100))
    fleet.wait(100)
    (member,) = fleet.members(rollout).values()
    assert (member.state, member.reason) == ("failed", "deadline")
    assert fleet.rollout(rollout).state is RolloutState.HALTED


@pytest.mark.parametrize(("tolerated", "expected"), [(("no_space",), RolloutState.FINISHED), ((), RolloutState.HALTED)])
def test_a_full_disk_counts_as_an_error_only_where_the_plan_says_so(
    fleet: LocalFleet, tolerated: tuple[str, ...], expected: RolloutState
) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.NO_SPACE, "cam-0")
    rollout = fleet.run("2.0.0", EVERYBODY, tolerated_rejections=tolerated)
    assert fleet.rollout(rollout).state is expected
    assert fleet.states(rollout)["cam-0"] == ("excused" if tolerated else "failed")


def test_a_group_in_which_everybody_is_excused_proves_nothing(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.NO_SPACE)
    rollout = fleet.run("2.0.0", CANARY, EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert len(fleet.states(rollout)) == 1


def test_a_second_rollout_of_the_same_model_and_devices_is_refused(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD)
    running = fleet.run("2.0.0", CANARY, EVERYBODY)
    with pytest.raises(ConflictError, match=f"rollout {running} of digits 2.0.0 runs and may have the same devices"):
        fleet.run("3.0.0", EVERYBODY)


def test_one_model_more_than_a_device_can_be_told_is_refused_and_nobody_is_cut_off(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    for number in range(MAX_MODELS):
        other = DesiredModel(name=f"m{number}", version="1.0.0", digest=digest_of("1.0.0"))
        with fleet.store.write() as tx:
            assignments.assign(tx, {"cam-0": other})
    plan = fleet.plan("1.0.0", EVERYBODY)
    with pytest.raises(ConflictError, match="cam-0: 65 models would be wanted of it, the limit is 64"):
        fleet.start(plan)
    fleet.settle()
    assert fleet.wanted("cam-1") is None
    fleet.start(replace(plan, selector=Selector(devices=("cam-1",))))
    fleet.settle()
    assert fleet.running("cam-1") == "1.0.0"


def test_rollouts_for_different_sites_run_side_by_side(fleet: LocalFleet) -> None:
    fleet.add("n-1", site="north")
    fleet.add("s-1", site="south")
    end_as(fleet, "1.0.0", Outcome.SLOW_DOWNLOAD)
    north = fleet.run("1.0.0", EVERYBODY, selector=Selector(labels={"site": ("north",)}))
    south = fleet.run("2.0.0", EVERYBODY, selector=Selector(labels={"site": ("south",)}))
    assert fleet.rollout(north).state is RolloutState.RUNNING
    assert fleet.rollout(south).state is RolloutState.FINISHED
    assert (list(fleet.states(north)), list(fleet.states(south))) == (["n-1"], ["s-1"])


def _write_over(fleet: LocalFleet, rollout: str, text: str) -> str:
    """Write over a rollout's plan, as a disk does that has lost a page; return what was there."""
    mine = schema.rollouts.c.id == rollout
    with fleet.store.write() as tx:
        before: str = tx.execute(select(schema.rollouts.c.plan_json).where(mine)).scalar_one()
        tx.execute(update(schema.rollouts).where(mine).values(plan_json=text))
    return before


def _trouble(fleet: LocalFleet, rollout: str) -> str | None:
    with fleet.store.read() as tx:
        found: str | None = tx.execute(
            select(schema.rollouts.c.trouble).where(schema.rollouts.c.id == rollout)
        ).scalar_one()
    return found


def test_a_rollout_that_meets_an_error_says_so_and_holds_up_no_other(
    fleet: LocalFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.add("n-1", "n-2", site="north")
    fleet.add("s-1", "s-2", site="south")
    groups = (Group(count=1, soak_s=60), EVERYBODY)
    north = fleet.run("1.0.0", *groups, selector=Selector(labels={"site": ("north",)}))
    south = fleet.run("2.0.0", *groups, selector=Selector(labels={"site": ("south",)}))
    before = fleet.rollout(north)
    plan = _write_over(fleet, north, "{")
    fleet.wait(61)
    fleet.wait(1)
    assert fleet.rollout(south).state is RolloutState.FINISHED
    assert str(_trouble(fleet, north)).endswith("Input data was truncated")
    assert caplog.text.count(f"rollout={north} cannot go on; it is tried again") == 1, "each error is told once"
    fleet.run("3.0.0", EVERYBODY, selector=Selector(labels={"site": ("south",)}))  # nor does it keep others from it
    assert fleet.running("s-1") == "3.0.0"
    _write_over(fleet, north, plan)
    found = fleet.rollout(north)
    assert found == replace(before, trouble=found.trouble), "nothing is half done"
    fleet.wait(1)
    assert (fleet.rollout(north).state, fleet.rollout(north).trouble) == (RolloutState.FINISHED, None)


def test_what_devices_say_is_stored_also_where_a_rollout_cannot_take_it_in(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("cam-0")
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    fleet.hand_out()
    monkeypatch.setattr(judgement, "judge", lambda *_, **__: 1 / 0)
    fleet.settle()
    with fleet.store.read() as tx:
        report = reported.find(tx, "cam-0")
    assert report is not None
    assert report.reported.models[0].state is UpdateState.COMMITTED
    assert fleet.rollout(rollout).trouble == "ZeroDivisionError: division by zero"


def test_what_devices_said_while_a_rollout_could_not_take_it_in_is_taken_in_later(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("cam-0", "cam-1", "cam-2")
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    fleet.hand_out()
    judge = judgement.judge

    def fails_for_one(member: Member, *args: Any, **named: Any) -> Member:
        if member.device == "cam-0":
            raise ZeroDivisionError("division by zero")
        return judge(member, *args, **named)

    monkeypatch.setattr(judgement, "judge", fails_for_one)
    for message in fleet.send():  # one after another: what the last two say is taken in, what the first says is not
        fleet.deliver([message])
    assert fleet.states(rollout) == {"cam-0": "pending", "cam-1": "committed", "cam-2": "committed"}
    fleet.wait(1)
    assert fleet.rollout(rollout).trouble == "ZeroDivisionError: division by zero"
    monkeypatch.setattr(judgement, "judge", judge)
    fleet.wait(1)
    assert (fleet.rollout(rollout).state, fleet.rollout(rollout).trouble) == (RolloutState.FINISHED, None)


def test_a_rollout_that_was_canceled_in_trouble_is_in_none_any_more(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("cam-0", online=False)
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    with monkeypatch.context() as broken:
        broken.setattr(machine, "decide", lambda *_, **__: 1 / 0)
        fleet.wait(1)
    assert fleet.rollout(rollout).trouble == "ZeroDivisionError: division by zero"
    fleet.operations.cancel(rollout, actor="person:ann", now=fleet.now)
    fleet.wait(1)
    assert (fleet.rollout(rollout).state, fleet.rollout(rollout).trouble) == (RolloutState.CANCELED, None)


def test_a_rollout_that_supersedes_takes_over_the_devices(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD)
    first = fleet.run("2.0.0", EVERYBODY)
    second = fleet.run("3.0.0", EVERYBODY, supersedes=first)
    assert fleet.rollout(first).state is RolloutState.CANCELED
    assert fleet.rollout(first).reason == f"superseded by {second}"
    assert fleet.rollout(second).state is RolloutState.FINISHED
    assert {fleet.running(name) for name in names} == {"3.0.0"}


def test_a_halted_rollout_is_rolled_back_to_what_each_device_ran(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.ERRORS, "cam-3", "cam-4")
    rollout = fleet.run("2.0.0", EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert sorted(filter(None, map(fleet.running, names))) == ["1.0.0"] * 2 + ["2.0.0"] * 3
    fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert [fleet.running(name) for name in names] == ["1.0.0"] * 5
    assert list(fleet.states(rollout).values()) == ["reverted"] * 3 + ["failed"] * 2


def test_a_roll_back_that_every_device_would_refuse_is_refused(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    rollout = fleet.run("2.0.0", EVERYBODY)
    with fleet.store.write() as tx:
        models.set_minimum_version(tx, MODEL, "2.0.0")
    with pytest.raises(BadRequestError, match=r"ran 1\.0\.0 before, below 2\.0\.0, the signed minimum version"):
        fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_rolling_back_the_first_version_leaves_nothing_running(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    rollout = fleet.run("1.0.0", EVERYBODY)
    fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert (fleet.running("cam-0"), fleet.wanted("cam-0")) == (None, None)


def test_a_roll_back_ends_at_its_deadline_and_an_absent_device_follows_when_it_comes(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    rollout = fleet.run("2.0.0", Group(percent=100, deadline_s=100))
    fleet.devices["cam-0"].silent = True
    fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLING_BACK
    fleet.wait(10_000)
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert "1 devices did not report it in time" in str(fleet.rollout(rollout).reason)
    fleet.connect("cam-0")
    assert fleet.running("cam-0") == "1.0.0"
    assert fleet.states(rollout)["cam-0"] == "reverted"


def test_a_version_that_failed_is_tried_again_only_by_a_new_rollout_with_a_higher_attempt(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    end_as(fleet, "1.0.0", Outcome.SELFTEST_FAILED)
    first = fleet.run("1.0.0", EVERYBODY)
    assert fleet.rollout(first).state is RolloutState.HALTED
    end_as(fleet, "1.0.0", Outcome.COMMIT)
    fleet.restart()
    fleet.settle()
    assert fleet.running("cam-0") is None
    second = fleet.run("1.0.0", EVERYBODY)
    assert fleet.members(second)["cam-0"].attempt == 2
    assert fleet.running("cam-0") == "1.0.0"


def test_a_device_that_runs_the_version_already_is_not_made_to_install_it_again(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    fleet.add("new")
    rollout = fleet.run("1.0.0", EVERYBODY)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert {len(device.installs) for device in fleet.devices.values()} == {1}


def test_canceling_keeps_what_runs(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD)
    rollout = fleet.run("2.0.0", EVERYBODY)
    fleet.operations.cancel(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.CANCELED
    assert {fleet.wanted(name) for name in names} == {"1.0.0"}
    with pytest.raises(ConflictError, match="is canceled, it cannot become halted; possible: nothing: it is over"):
        fleet.operations.halt(rollout, actor="person:ann", reason="late", now=fleet.now)


def test_what_was_taken_back_is_rolled_out_again_as_a_new_attempt(fleet: LocalFleet) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD)
    first = fleet.run("2.0.0", EVERYBODY)
    fleet.operations.cancel(first, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert set(fleet.states(first).values()) == {"withdrawn"}
    end_as(fleet, "2.0.0", Outcome.COMMIT)
    second = fleet.run("2.0.0", EVERYBODY)
    assert fleet.rollout(second).state is RolloutState.FINISHED
    assert {member.attempt for member in fleet.members(second).values()} == {2}
    assert {fleet.running(name) for name in names} == {"2.0.0"}


def test_a_draft_that_nobody_starts_ends(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    rollout = fleet.operations.create(fleet.plan("1.0.0", EVERYBODY), actor="person:ann", now=fleet.now).id
    fleet.wait(29 * 86400)
    assert fleet.rollout(rollout).state is RolloutState.DRAFT
    fleet.wait(86400)
    assert (fleet.rollout(rollout).state, fleet.rollout(rollout).reason) == ("canceled", "it was never started")


def test_a_removed_device_does_not_hold_a_rollout_up(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.HANG, "cam-0")
    rollout = fleet.run("2.0.0", Group(percent=100, success_threshold=0.8, deadline_s=100))
    with fleet.store.write() as tx:
        devices.remove(tx, "cam-0", now=fleet.now)
    fleet.wait(5000)
    assert fleet.states(rollout)["cam-0"] == "excused"
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_a_version_that_was_never_published_is_refused(fleet: LocalFleet) -> None:
    with pytest.raises(NotFoundError, match=r"digits 9\.0\.0 is not published"):
        fleet.run("9.0.0", EVERYBODY)
    plan = fleet.plan("1.0.0", EVERYBODY)
    other = type(plan)(model=plan.model, version="2.0.0", digest=plan.digest, groups=plan.groups)
    with pytest.raises(BadRequestError, match="published with sha256"):
        fleet.start(other)


@pytest.mark.parametrize("moment", ["draft", "canary running", "soaking", "second group", "halted", "rolling back"])
def test_a_manager_that_is_killed_goes_on_where_it_was(fleet: LocalFleet, moment: str) -> None:
    names = five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.HANG)
    plan = fleet.plan("2.0.0", Group(count=1, soak_s=60), EVERYBODY)
    rollout = fleet.operations.create(plan, actor="person:ann", now=fleet.now).id
    reached = False
    for step in ["draft", "canary running", "soaking", "second group", "halted", "rolling back"]:
        if step == "canary running":
            fleet.operations.start(rollout, actor="person:ann", now=fleet.now)
            fleet.settle()
        elif step == "soaking":
            finish_all(fleet)
        elif step == "second group":
            fleet.wait(60)
        elif step == "halted":
            fleet.operations.halt(rollout, actor="person:ann", reason="enough", now=fleet.now)
        elif step == "rolling back":
            fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
        if step == moment:
            before = (fleet.rollout(rollout), fleet.members(rollout))
            fleet.restart()
            assert (fleet.rollout(rollout), fleet.members(rollout)) == before
            reached = True
        fleet.settle()
    assert reached
    finish_all(fleet)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert {fleet.running(name) for name in names} == {"1.0.0"}
    assert all(device.installs.count((digest_of("2.0.0"), 1)) == 1 for device in fleet.devices.values())


def finish_all(fleet: LocalFleet) -> None:
    for device in fleet.devices.values():
        entry = device.reported.get("digits")
        if entry is not None and entry.state is UpdateState.ACTIVATING:
            fleet.deliver(device.finish("digits"))
    fleet.settle()


def test_a_download_that_goes_on_after_its_deadline_does_not_hold_the_rollout_up(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD, "cam-0")
    rollout = fleet.run("2.0.0", Group(percent=100, success_threshold=0.8, error_threshold=0.2, deadline_s=100))
    fleet.now += 100
    fleet.deliver(fleet.devices["cam-0"].connect())
    fleet.wait(0)
    fleet.deliver(fleet.devices["cam-0"].connect())
    fleet.wait(1000)
    assert fleet.states(rollout)["cam-0"] == "failed"
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_a_halt_takes_the_version_back_from_a_download_that_was_too_slow(fleet: LocalFleet) -> None:
    five_on_version_1(fleet)
    end_as(fleet, "2.0.0", Outcome.SLOW_DOWNLOAD, "cam-0")
    rollout = fleet.run("2.0.0", Group(percent=100, error_threshold=0.1, deadline_s=100))
    fleet.wait(100)
    assert fleet.rollout(rollout).state is RolloutState.HALTED
    assert (fleet.states(rollout)["cam-0"], fleet.members(rollout)["cam-0"].reason) == ("failed", "deadline")
    assert fleet.wanted("cam-0") == "1.0.0", "or it would begin to activate what was halted"


def test_a_version_below_the_signed_minimum_is_refused_at_the_draft_and_at_the_start(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    drafted = fleet.operations.create(fleet.plan("1.0.0", EVERYBODY), actor="person:ann", now=fleet.now)
    with fleet.store.write() as tx:
        models.set_minimum_version(tx, "digits", "2.0.0")
    said = r"digits 1\.0\.0: below 2\.0\.0, the signed minimum version, .*; roll out 2\.0\.0 or a later one"
    with pytest.raises(BadRequestError, match=said):
        fleet.operations.create(fleet.plan("1.0.0", EVERYBODY), actor="person:ann", now=fleet.now)
    with pytest.raises(BadRequestError, match=said):
        fleet.operations.start(drafted.id, actor="person:ann", now=fleet.now)
    assert fleet.rollout(drafted.id).state is RolloutState.DRAFT
    assert fleet.rollout(fleet.run("2.0.0", EVERYBODY)).state is RolloutState.FINISHED
