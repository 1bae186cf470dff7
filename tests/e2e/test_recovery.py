"""Power cuts and lost connections, on the server and on devices."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial

import pytest

from edgemm import times
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet
from tests.e2e.gate import Gate

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
TRANSITIONS = ["accepted", "downloading", "verified", "staged", "activating", "probation", "committed"]


def test_a_manager_killed_in_the_middle_of_a_rollout_goes_on_where_it_was(fleet: Fleet) -> None:
    devices = fleet.join("one", "two", "three")
    fleet.publish("1.0.0")
    fleet.publish("2.0.0")
    fleet.rollout("1.0.0", "--group", "100%")
    groups = ("--group", "1", "--group", "1", "--group", "1")
    rollout = fleet.json("rollout", "create", "tiny", "2.0.0", *groups, "--probation", "2s", "--start")["rollout"]["id"]
    eventually(lambda: any(d.state_of("2.0.0") == ("probation", None) for d in devices), "the canary is on probation")
    fleet.server.kill()
    assert {device.version() for device in devices} == {"1.0.0", "2.0.0"}
    fleet.serve()
    eventually(lambda: fleet.rollout_state(rollout) == "finished", "the rollout is finished", timeout_s=60)
    for device in devices:
        assert device.version() == "2.0.0"
        eventually(partial(_committed, device), "its events are stored")
        assert device.causes("2.0.0") == TRANSITIONS


def _committed(device: Device) -> bool:
    return "committed" in device.causes("2.0.0")


def test_a_command_that_waits_for_a_rollout_outlives_a_restart_of_the_manager(fleet: Fleet) -> None:
    [device] = fleet.join("one")
    fleet.publish("1.0.0")
    waiting = fleet.programs.start(
        "wait", "fleet", "rollout", "create", "tiny", "1.0.0", "--probation", "3s", "--wait"
    )  # fmt: skip
    device.wait_for_state("1.0.0", "probation")
    fleet.server.kill()
    fleet.serve()
    done = waiting.wait()
    assert done.status == 0, done
    assert "finished" in done.out + done.err


@pytest.fixture
def serving(fleet: Fleet) -> Device:
    """A device that serves version 1; version 2 is published."""
    [device] = fleet.join("one")
    fleet.publish("1.0.0")
    fleet.publish("2.0.0")
    fleet.rollout("1.0.0")
    return device


def test_a_device_killed_while_it_downloads_serves_the_old_model_and_then_goes_on(fleet: Fleet) -> None:
    with Gate(to=fleet.port) as gate:
        device = Device(fleet, "one").start(token=fleet.token(), url=f"http://127.0.0.1:{gate.port}")
        fleet.publish("1.0.0")
        fleet.publish("2.0.0")
        eventually(device.online, "it is online")
        fleet.rollout("1.0.0")
        gate.hold(b"GET /api/v1/blobs/")
        fleet.ok("rollout", "create", "tiny", "2.0.0", "--probation", "0s", "--start")
        device.wait_for_state("2.0.0", "downloading")
        assert gate.waiting.wait(60)
        device.kill()
        device.start(url=f"http://127.0.0.1:{gate.port}").wait_until_ready()
        assert device.version() == "1.0.0"
        gate.open()
        device.wait_for_state("2.0.0", "committed")
        assert device.version() == "2.0.0"
        assert device.causes("2.0.0").count("activating") == 1


def test_a_device_killed_on_probation_serves_the_old_model_and_tries_again(fleet: Fleet, serving: Device) -> None:
    fleet.ok("rollout", "create", "tiny", "2.0.0", "--probation", "2s", "--start")
    serving.wait_for_state("2.0.0", "probation")
    serving.kill()
    serving.start().wait_until_ready()
    assert serving.version() in {"1.0.0", "2.0.0"}
    serving.wait_for_state("2.0.0", "committed")
    assert serving.version() == "2.0.0"
    eventually(lambda: "power_lost" in serving.causes("2.0.0"), "the loss of power is told")
    eventually(lambda: fleet.last_rollout()["state"] == "finished", "the rollout is finished")


def test_the_third_power_cut_on_probation_turns_the_model_back(fleet: Fleet, serving: Device) -> None:
    fleet.ok("rollout", "create", "tiny", "2.0.0", "--probation", "1h", "--start")
    for _ in range(3):
        eventually(lambda: serving.version() == "2.0.0", "version 2 is on trial")
        serving.kill()
        serving.start().wait_until_ready()
    assert serving.wait_for_state("2.0.0", "rolled_back", "failed") == ("rolled_back", "power_loss")
    assert serving.version() == "1.0.0"
    eventually(lambda: fleet.last_rollout()["state"] == "halted", "the rollout is halted")
    serving.kill()
    serving.start().wait_until_ready()
    assert serving.version() == "1.0.0"


def test_a_device_killed_after_commit_comes_back_with_the_new_model_although_nobody_else_is_there(
    fleet: Fleet, serving: Device
) -> None:
    fleet.rollout("2.0.0")
    serving.kill()
    fleet.server.kill()
    serving.start().wait_until_ready()
    assert serving.version() == "2.0.0"


def test_a_device_serves_while_the_fleet_is_away_and_catches_up_once(fleet: Fleet, serving: Device) -> None:
    fleet.server.kill()
    assert serving.version() == "1.0.0"
    name = serving.id
    serving.program.terminate()
    gone = int(time.time())
    serving.start().wait_until_ready()
    assert serving.version() == "1.0.0"
    back = time.time()
    fleet.serve()

    def boots() -> Counter[str]:
        stored = fleet.api(f"/devices/{name}/events?limit=1000")["items"]
        return Counter(s["event"]["boot"] for s in stored if s["event"]["cause"] == "agent_started")

    eventually(lambda: len(boots()) == 2, "the start while the fleet was away is stored")
    assert set(boots().values()) == {1}
    started = max((e for e in serving.events() if e["cause"] == "agent_started"), key=lambda e: e["boot_count"])
    assert gone <= times.from_text(started["time"]) <= back
    fleet.rollout("2.0.0")
    assert serving.version() == "2.0.0"


def test_a_stopped_device_says_good_bye_and_comes_back_without_a_token(fleet: Fleet, serving: Device) -> None:
    before = serving.id
    done = serving.program.terminate()
    assert done.status == 0, done
    eventually(lambda: not serving.report()["device"]["presence"]["online"], "the fleet sees it offline")
    serving.start().wait_until_ready()
    assert serving.id == before
    assert len(fleet.json("devices")) == 1
    assert serving.version() == "1.0.0"
