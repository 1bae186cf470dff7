"""Actions that an operator asks for: by the command line to a real device, and what it answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Fleet, Device]]:
    """A device that runs version 1.0.0."""
    with Fleet(tmp_path) as fleet:
        fleet.up()
        # Of its own, for it is to be found there after it started anew.
        device = Device(fleet, "pi").start(token=fleet.token(), options=("--port", str(free_port())))
        eventually(device.online, "it is online")
        fleet.publish("1.0.0")
        fleet.rollout("1.0.0", "--group", "100%")
        yield fleet, device


def test_every_kind_of_action_is_done_once_and_answered(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    act = ("devices", "act", device.id)
    assert fleet.ok(*act, "selftest", "--model", "tiny", "--wait").startswith(
        f"{device.id}: selftest tiny: done: passed: tiny 1.0.0 tflite:"
    )
    told = json.loads(fleet.json(*act, "diagnose", "--wait")["detail"])
    assert told["models"] == {"tiny": "committed"}
    assert fleet.json(*act, "prune", "--wait")["detail"] == "0 bytes freed"
    failed = fleet.run(*act, "selftest", "--model", "other", "--wait")
    assert (failed.status, "failed: selftest: other is not active here" in failed.out) == (1, True)
    assert fleet.json(*act, "restart", "--wait")["detail"] == "restarting"
    eventually(lambda: _starts(device) > 1, "it started anew")
    eventually(lambda: not device.report()["desired"]["actions"], "nothing is wanted of it any more")
    assert device.wait_until_ready().version() == "1.0.0"
    assert _starts(device) == 2, "and once only"


def test_several_devices_are_asked_at_once_and_each_answers(served: tuple[Fleet, Device]) -> None:
    fleet, first = served
    [second] = fleet.join("gate", labels=("site=hall",))
    both = fleet.json("devices", "act", first.id, second.id, first.id, "diagnose", "--wait")
    assert [(one["device"], one["ok"]) for one in both] == [(first.id, True), (second.id, True)]
    assert all(json.loads(one["detail"])["runtime"] for one in both)
    [hall] = fleet.json("devices", "act", "prune", "--where", "site=hall", "--wait")
    assert (hall["device"], hall["ok"]) == (second.id, True)
    everybody = fleet.run("devices", "act", "selftest", "--all", "--wait")
    assert everybody.status == 1, "nothing is active on the second"
    assert f"{first.id}: selftest: done: passed: tiny 1.0.0" in everybody.out
    assert f"{second.id}: selftest: failed: selftest: no model is active here" in everybody.out
    nobody = fleet.run("devices", "act", "prune", "--where", "site=nowhere")
    assert (nobody.status, "no device matches site=nowhere, so nothing was asked" in nobody.err) == (1, True)
    assert fleet.run("devices", "act", "prune").status == 2, "nobody is named"
    mixed = fleet.run("devices", "act", first.id, "cam-9", "prune", "--wait")
    assert (mixed.status, f"{first.id}: prune: done" in mixed.out) == (1, True)
    assert "cam-9: not asked: no device 'cam-9'" in mixed.err
    shown = fleet.ok("devices", "show", first.id)
    assert "prune: done: 0 bytes freed" in shown
    assert "diagnose: done: " in shown
    with closing(sqlite3.connect(fleet.folder / "fleet.db")) as database, database:
        # As a later manager asks for, of a device that does not know it.
        columns = "id, device, kind, created_at, detail"
        database.execute(f"INSERT INTO actions ({columns}) VALUES ('a1', ?, 'polish', 0, '')", [first.id])
    assert fleet.json("devices", "act", first.id, "prune", "--wait")["ok"]
    eventually(
        lambda: "polish: failed: unsupported: 'polish'" in fleet.ok("devices", "actions", first.id), "it says so"
    )


def test_a_device_that_is_away_acts_when_it_is_back(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    device_id = device.id
    device.kill()
    eventually(lambda: not device.online(), "it is away")
    asked = fleet.ok("devices", "act", device_id, "prune")
    assert asked.startswith(f"{device_id}: prune: not done yet: it is offline, heard of ")
    late = fleet.run("devices", "act", device_id, "diagnose", "--wait", "--timeout", "1s")
    assert late.status == 1
    assert "no result of diagnose within 1 s; it is done when the device is there" in late.err
    waiting = fleet.programs.start("waiting", "fleet", "devices", "act", device_id, "selftest", "--wait")
    waiting.wait_for("(it is offline)")
    ended = waiting.interrupt()
    assert ended.status == 130
    assert f"it is done all the same; see what came of it: edgemm fleet devices actions {device_id}" in ended.err
    device.start()

    def done() -> set[str]:
        return {one["action"]["kind"] for one in fleet.json("devices", "actions", device_id) if one["ok"]}

    eventually(lambda: done() == {"prune", "diagnose", "selftest"}, "it did all of them")


def _starts(device: Device) -> int:
    return sum(event["cause"] == "agent_started" for event in device.events())
