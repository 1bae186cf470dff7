"""Actions that an operator asks for: by the command line to a real device, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


def _starts(device: Device) -> int:
    return sum(event["cause"] == "agent_started" for event in device.events())
