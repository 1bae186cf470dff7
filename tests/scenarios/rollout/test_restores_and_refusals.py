"""A manager whose folder is an older backup, and devices that refuse: what is told, how often, and what is shown."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.messages import Action, Desired, DesiredModel
from edgemm.messages.generations import of_time
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.records import DesiredRecord
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import actions, assignments, desired, notes
from simulators.broker import FLEET, LocalFleet
from simulators.device import SimulatedDevice

pytestmark = [pytest.mark.fleet, pytest.mark.sqlite]  # backups are copies of the file
EVERYBODY = Group(percent=100)
HOUR = 3600.0


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    fleet.run("1.0.0", EVERYBODY)
    return fleet


def back_up(fleet: LocalFleet) -> Path:
    """Copy the database of a manager that is stopped for it."""
    fleet.store.close()
    copy = fleet.path.with_name(f"backup-{fleet.now}.db")
    shutil.copy(fleet.path, copy)
    fleet.open()
    return copy


def restore(fleet: LocalFleet, copy: Path) -> None:
    """Put a copy back and start the manager on it; devices have not connected yet."""
    fleet.store.close()
    shutil.copy(copy, fleet.path)
    fleet.open()


def same_numbers(fleet: LocalFleet) -> None:
    """Have the manager draw the nonce that the one before it drew."""
    fleet.director = Director(FLEET, fleet.signer, nonce=7)
    fleet.runner.assigner._director = fleet.ingest._director = fleet.ingest._answering._director = fleet.director


def told(fleet: LocalFleet, device: str = "cam-1") -> DesiredRecord:
    with fleet.store.read() as tx:
        found = desired.find(tx, device)
    assert found is not None
    return found


@pytest.mark.parametrize("old", [False, True], ids=["device", "device of an earlier version"])
@pytest.mark.parametrize("away", [False, True], ids=["there", "away meanwhile"])
def test_a_rollout_after_a_restored_backup_arrives(fleet: LocalFleet, old: bool, away: bool) -> None:
    device = fleet.devices["cam-1"]
    device.old = old
    copy = back_up(fleet)
    fleet.now += 60
    fleet.run("2.0.0", EVERYBODY)
    device.silent = away
    restore(fleet, copy)
    fleet.now += 60
    rollout = fleet.run("3.0.0", EVERYBODY)
    fleet.connect("cam-1")
    assert fleet.rollout(rollout).state == "finished"
    assert (fleet.running("cam-1"), device.generation) == ("3.0.0", told(fleet).desired.generation)


@pytest.mark.parametrize("old", [False, True], ids=["device", "device of an earlier version"])
def test_one_number_for_two_contents_is_composed_anew_and_no_fault_of_the_version(fleet: LocalFleet, old: bool) -> None:
    device = fleet.devices["cam-1"]
    device.old = old
    copy = back_up(fleet)
    fleet.now += 60
    same_numbers(fleet)
    fleet.run("2.0.0", EVERYBODY)
    lost = device.generation
    restore(fleet, copy)
    same_numbers(fleet)
    rollout = fleet.start(fleet.plan("3.0.0", EVERYBODY))
    fleet.hand_out()
    assert told(fleet).desired.generation == lost, "by the same clock and nonce"
    fleet.settle()
    assert fleet.rollout(rollout).state == "finished"
    assert fleet.running("cam-1") == "3.0.0"
    assert device.generation > lost


def test_a_report_of_lost_numbers_does_not_count_as_reached(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    copy = back_up(fleet)
    fleet.now += 2 * HOUR
    fleet.run("2.0.0", EVERYBODY)
    device.silent = True
    restore(fleet, copy)
    fleet.now -= HOUR  # and the clock is behind
    rollout = fleet.run("3.0.0", EVERYBODY)
    device.silent = False
    assert device.generation > told(fleet).desired.generation
    fleet.deliver(device.connect())
    assert fleet.states(rollout) == {"cam-1": "pending"}
    fleet.settle()
    assert fleet.rollout(rollout).state == "finished"


def test_the_managers_time_does_not_go_backwards(fleet: LocalFleet) -> None:
    fleet.now += HOUR
    fleet.run("2.0.0", EVERYBODY)
    latest = told(fleet).desired.generation
    fleet.restart()
    fleet.now -= HOUR / 2
    fleet.add("cam-2")
    fleet.run("3.0.0", EVERYBODY)
    assert told(fleet, "cam-2").desired.generation >= of_time(fleet.now + HOUR / 2)
    assert told(fleet).desired.generation > latest
    assert told(fleet).desired.expires.startswith("2027-01-22"), "validity is by the clock"


def test_a_time_that_no_clock_can_have_shown_is_let_go(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        notes.keep_time(tx, fleet.now + 40 * 366 * 86400)
        assert notes.latest_time(tx, now=fleet.now) == fleet.now


@pytest.mark.parametrize("seed", range(12))
def test_random_restores_end_with_what_is_wanted(tmp_path: Path, seed: int) -> None:
    """The same as `test_generation_histories`, with the manager's own store and messages, in fewer histories."""
    draw = random.Random(seed)
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    fleet.run("1.0.0", EVERYBODY)
    device, copies, wishes = fleet.devices["cam-1"], [back_up(fleet)], 0
    for _ in range(15):
        fleet.now += draw.choice([0.0, 0.001, 40.0, HOUR])
        match draw.randrange(6):
            case 0:
                copies.append(back_up(fleet))
            case 1:
                restore(fleet, draw.choice(copies))
            case 2:
                device.silent = not device.silent
                fleet.deliver(device.connect())
            case 3:
                fleet.now += draw.choice([-5.0, 5.0])
            case _:
                wishes += 1
                with fleet.store.write() as tx:
                    actions.add(tx, "cam-1", Action(id=f"a-{wishes}", kind="selftest"), now=fleet.now)
                    fleet.director.write(tx, ["cam-1"], now=fleet.now)
                fleet.settle()
    fleet.connect("cam-1")
    for _ in range(3):
        fleet.wait(HOUR)
    found = told(fleet)
    assert (device.generation, device._desired and device._desired.content_hash()) == (
        found.desired.generation, found.content_hash,
    )  # fmt: skip
    assert (found.tries, found.again_at) == (0, None)


def test_a_refusal_is_a_state_of_the_member_and_at_the_deadline_the_device_was_not_reached(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.refuses = "desired_expired"
    rollout = fleet.run("2.0.0", Group(percent=100, deadline_s=HOUR))
    member = fleet.members(rollout)["cam-1"]
    assert (member.state, member.reason) == ("refused", "desired_expired")
    assert fleet.rollout(rollout).state == "running"
    fleet.wait(HOUR)
    member = fleet.members(rollout)["cam-1"]
    assert member.state in {"timed_out", "withdrawn"}
    halted = fleet.rollout(rollout)
    assert halted.state == "halted"
    assert halted.reason is not None
    assert halted.reason.endswith("refused what they were told: desired_expired (1): cam-1")
    assert "1 failed" not in halted.reason


def test_a_device_that_refuses_is_told_again_ever_less_often_and_at_once_of_something_new(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.refuses, device.insistent = "desired_too_early", True
    fleet.sent.clear()
    first = fleet.run("2.0.0", Group(percent=100, deadline_s=30 * 24 * HOUR))
    counts = []
    for _ in range(4):
        for _ in range(60):
            fleet.wait(60)
        counts.append(len(fleet.sent))
        fleet.sent.clear()
    assert counts[0] <= 8
    assert counts[-1] <= 1, counts
    fleet.restart()
    assert fleet.sent == [], "a restart begins no loop anew"
    device.refuses = None
    fleet.operations.halt(first, actor="person:ann", reason="x", now=fleet.now)
    fleet.run("3.0.0", EVERYBODY)
    assert fleet.running("cam-1") == "3.0.0"
    assert told(fleet).refusal is None
    fleet.wait(HOUR)
    assert (told(fleet).tries, told(fleet).again_at) == (0, None)


def test_a_refusal_of_an_earlier_version_is_known_by_its_event(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.old, device.refuses, device.insistent = True, "desired_expired", True
    fleet.sent.clear()
    rollout = fleet.run("2.0.0", EVERYBODY)
    assert fleet.members(rollout)["cam-1"].reason == "desired_expired"
    assert len(fleet.sent) == 1, "and it is not told the same again at once"


def test_a_refusal_ends_when_the_device_takes_it_after_all(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.refuses = "desired_expired"
    rollout = fleet.run("2.0.0", EVERYBODY)
    device.refuses = None
    fleet.wait(60)
    assert fleet.states(rollout) == {"cam-1": "committed"}
    assert told(fleet).refusal is None


def _replace_directors_key(fleet: LocalFleet) -> None:
    """Sign with another key, and tell every device anew, as a manager does whose director's key was replaced."""
    fleet.signer = CryptoSigner.generate_ed25519()
    fleet.director.use(fleet.signer)
    with fleet.store.write() as tx:
        desired.mark_unsent(tx, list(fleet.devices))
    fleet.settle()


def test_a_device_that_does_not_know_the_key_is_shown_to_refuse_though_it_acts_on_the_same(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    _replace_directors_key(fleet)
    refusal = told(fleet).refusal
    assert refusal is not None
    assert (refusal.cause, refusal.generation) == ("desired_untrusted", device.generation)
    assert "not signed by the key that is trusted for it" in refusal.detail
    rollout = fleet.run("2.0.0", EVERYBODY)  # which it refuses too, and does not tell anew
    member = fleet.members(rollout)["cam-1"]
    assert (member.state, member.reason) == ("refused", "desired_untrusted")
    fleet.deliver(device.connect())
    assert fleet.states(rollout) == {"cam-1": "refused"}
    device.director = [fleet.signer.public_key]
    fleet.wait(60)
    assert fleet.states(rollout) == {"cam-1": "committed"}
    assert told(fleet).refusal is None


def test_a_device_that_hears_of_the_key_refuses_no_longer_though_nothing_else_is_wanted(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    _replace_directors_key(fleet)
    device.director = [fleet.signer.public_key]
    fleet.wait(HOUR)
    assert told(fleet).refusal is None
    fleet.wait(HOUR)
    assert (told(fleet).tries, told(fleet).again_at) == (0, None)


def test_a_device_that_refuses_for_ever_what_it_acts_on_is_told_ever_less_often(fleet: LocalFleet) -> None:
    _replace_directors_key(fleet)
    fleet.sent.clear()
    counts = []
    for _ in range(4):
        for _ in range(60):
            fleet.deliver([fleet.devices["cam-1"].report()])
            fleet.wait(60)
        counts.append(len(fleet.sent))
        fleet.sent.clear()
    assert counts[0] <= 8
    assert counts[-1] <= 1, counts


def _higher(device: SimulatedDevice) -> None:
    device.generation += 1024


def _other_content(device: SimulatedDevice) -> None:
    device.generation = device.generation or 1
    device._desired = None if device._desired is None else _changed(device)


def _changed(device: SimulatedDevice) -> Desired:
    assert device._desired is not None
    return replace(device._desired, actions=(Action(id=f"x{device._sequence}", kind="prune"),))


def _none(device: SimulatedDevice) -> None:
    device.generation = 0


def _now_this_now_that(device: SimulatedDevice) -> None:
    assert device._desired is not None
    device.generation = 0 if device.generation else device._desired.generation


def _beyond_belief(device: SimulatedDevice) -> None:
    device.generation = 2**53 - 1


@pytest.mark.parametrize("lie", [_higher, _other_content, _none, _now_this_now_that, _beyond_belief])
def test_a_device_that_reports_what_it_does_not_act_on_draws_no_loop(
    fleet: LocalFleet, lie: Callable[[SimulatedDevice], object]
) -> None:
    device = fleet.devices["cam-1"]
    fleet.sent.clear()
    for _ in range(300):
        lie(device)
        fleet.deliver([device.report()])
        said = fleet.send()
        assert len(said) <= 20
        fleet.now += 0.1
    assert len(fleet.sent) <= 8
    fleet.sent.clear()
    for _ in range(300):  # and connects anew each time
        lie(device)
        fleet.deliver(device.connect())
        fleet.send()
        fleet.now += 0.1
    assert len(fleet.sent) <= 8


def test_a_generation_that_is_not_believed_is_shown(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.generation = 2**53 - 1
    fleet.deliver([device.report()])
    rollout = fleet.run("2.0.0", EVERYBODY)
    fleet.deliver([device.report()])
    assert fleet.members(rollout)["cam-1"].reason == "generation_unbelievable"


def test_what_is_too_large_to_be_sent_is_shown_and_stops_nobody_else(fleet: LocalFleet) -> None:
    fleet.add("cam-2")
    long = tuple(f"tflite:{'x' * 100}{number:03}" for number in range(32))
    with fleet.store.write() as tx:
        for number in range(8):
            other = DesiredModel(name=f"other-{number}", version="1.0.0", digest="0" * 64, variants=long)
            assignments.assign(tx, {"cam-1": other})
    rollout = fleet.run("2.0.0", EVERYBODY)
    found = told(fleet)
    assert found.refusal is not None
    assert (found.refusal.cause, found.unsent) == ("desired_too_large", False)
    assert fleet.members(rollout)["cam-1"].reason == "desired_too_large"
    assert fleet.states(rollout) == {"cam-1": "refused", "cam-2": "committed"}
    fleet.deliver([fleet.devices["cam-1"].report()])
    assert not told(fleet).unsent, "it is not tried again and again"


def test_a_version_that_is_rolled_out_again_before_devices_are_let_in_is_not_loaded_again(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    copy = back_up(fleet)
    fleet.now += HOUR
    fleet.run("2.0.0", EVERYBODY)
    installs = list(device.installs)
    device.silent = True
    restore(fleet, copy)
    fleet.now += HOUR
    rollout = fleet.start(fleet.plan("2.0.0", EVERYBODY))
    fleet.connect("cam-1")
    assert fleet.rollout(rollout).state == "finished"
    assert (fleet.running("cam-1"), device.installs) == ("2.0.0", installs)
