"""Clocks that leap and clocks that are wrong for good, of devices and of the manager, in real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgemm import times
from simulators.leaping_clock import DAY_S, YEAR_S, LeapingClock
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]
HOUR_S = 3600.0


class _Clocked:
    """A fleet whose programs have clocks that tests set: the manager one, and the device one."""

    def __init__(self, folder: Path) -> None:
        self.of_manager, self.of_device = LeapingClock(folder / "clock-m"), LeapingClock(folder / "clock-d")
        self._manager = self.of_manager.program(folder / "edgemm-m")
        self._device = self.of_device.program(folder / "edgemm-d", impatient=True)
        self._config = folder / "edgemm-d.toml"
        self._config.write_text("[advanced.agent]\nbackoff_max_s = 2.0\n")
        self.fleet = Fleet(folder)

    def serve(self, ahead_s: float = 0.0) -> None:
        """Start the manager, anew if it runs, with a clock that is so far ahead."""
        if hasattr(self.fleet, "server"):
            self.fleet.server.terminate()
        self.of_manager.ahead(ahead_s)
        self.fleet.programs.edgemm = self._manager
        self.fleet.serve()

    def start(self, device: Device, ahead_s: float = 0.0, *, token: str | None = None) -> Device:
        """Start the device, with a clock that is so far ahead; after a failure it waits two seconds at most."""
        self.of_device.ahead(ahead_s)
        self.fleet.programs.edgemm = self._device
        return device.start(token=token, options=("--config", str(self._config)))


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[_Clocked]:
    clocked = _Clocked(tmp_path)
    with clocked.fleet as fleet:
        fleet.init()
        clocked.serve()
        fleet.login()
        yield clocked


def _roll_out(fleet: Fleet, device: Device, version: str) -> None:
    fleet.publish(version)
    fleet.rollout(version, "--group", "100%", "--deadline", "90s")
    assert device.version() == version


def test_a_device_whose_clock_leaps_and_is_wrong_for_good(clocked: _Clocked) -> None:
    fleet = clocked.fleet
    device = clocked.start(Device(fleet, "cam"), token=fleet.token())
    eventually(device.online, "it is online")
    _roll_out(fleet, device, "1.0.0")

    # For a moment, and nobody there to tell it the time.
    fleet.server.terminate()
    device.kill()
    clocked.start(device, 5 * YEAR_S).wait_until_ready()
    assert device.version() == "1.0.0"
    eventually(lambda: _kept_s(device) > time.time() + 4 * YEAR_S, "it believes its clock")
    device.kill()
    clocked.serve()
    clocked.start(device)
    _roll_out(fleet, device, "2.0.0")
    assert _kept_s(device) < time.time() + HOUR_S

    # For good: while it runs, from a start on, and as a clock of 1970.
    clocked.of_device.ahead(5 * YEAR_S)
    eventually(lambda: (_clock(device) or {}).get("ahead_s"), "it noticed the leap, asked, and says so")
    assert abs(_clock(device)["ahead_s"] - 5 * YEAR_S) < 60
    assert "clock 1825 d ahead" in fleet.ok("devices", "list")
    assert "clock_ahead: 1825 d ahead" in fleet.ok("devices", "show", device.id)
    device.kill()
    clocked.start(device, 5 * YEAR_S + HOUR_S)
    _roll_out(fleet, device, "3.0.0")

    device.kill()
    clocked.start(device, times.from_text("1970-01-01T00:00:10Z") - time.time())
    eventually(lambda: (_clock(device) or {}).get("reason") == "clock_behind", "it says that it is behind")
    _roll_out(fleet, device, "4.0.0")
    told = fleet.json("devices", "act", device.id, "sync-time", "--wait")
    assert (told["ok"], "behind the fleet's" in told["detail"]) == (True, True)
    assert "time_lowered" in {event["cause"] for event in device.events()}

    clocked.of_device.ahead(0.0)
    eventually(lambda: _clock(device) is None, "its clock is right, and nothing is wrong any more")


def test_a_manager_that_leaps_and_comes_back(clocked: _Clocked) -> None:
    fleet = clocked.fleet
    device = clocked.start(Device(fleet, "cam"), token=fleet.token())
    eventually(device.online, "it is online")
    clocked.of_manager.ahead(5 * YEAR_S)  # over before it is believed, and nothing comes of it
    assert fleet.json("token", "create")["record"]["expires_at"] < time.time() + DAY_S + 60
    clocked.of_manager.ahead(0.0)

    for number, ahead_s in enumerate((HOUR_S, DAY_S, 5 * YEAR_S)):
        version, rollout, connections = f"{number + 1}.0.0", "", device.program.text.count("connected device=")
        fleet.publish(version)
        clocked.serve(ahead_s)
        eventually(lambda: device.program.text.count("connected device=") > connections, "it came back to the manager")  # noqa: B023 - called at once
        if ahead_s < YEAR_S:  # else no token holds meanwhile
            rollout = fleet.api("/rollouts", "POST", json=_rollout(version))["id"]
            fleet.api(f"/rollouts/{rollout}/start", "POST")
        clocked.serve()
        eventually(device.online, "it came back again")
        if rollout:
            eventually(lambda: fleet.rollout_state(rollout) == "finished", "what a wrong clock began ends")  # noqa: B023 - as above
        else:
            fleet.rollout(version, "--group", "100%", "--deadline", "90s")
        assert device.version() == version

    assert times.from_text(device.report()["desired"]["expires"]) < time.time() + 8 * DAY_S
    eventually(lambda: _clock(device) is None, "it doubts nothing any more")
    timestamp = (fleet.folder / "tuf" / "metadata" / "timestamp.json").read_text()
    assert f'"expires":"{times.to_text(time.time() + DAY_S)[:10]}' in timestamp.replace(" ", "")


def _rollout(version: str) -> dict[str, Any]:
    return {
        "model": "tiny",
        "version": version,
        "groups": [{"percent": 100, "deadline_s": 90}],
        "config": {"probation": {"min_duration_s": 0}},
    }


def _kept_s(device: Device) -> int:
    """Return the trusted time that the device keeps on disk."""
    return times.from_text(json.loads((device.state / "time.json").read_text())["trusted"])


def _clock(device: Device) -> Any:
    """Return what the device reports of its clock; None where that is right."""
    return device.report()["reported"].get("clock")
