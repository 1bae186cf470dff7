"""A device's clock is two years ahead for one start. Then its card is put back, or the number of its starts is lost.

Right: it is heard again at once, so that it is shown as it is and takes the next rollout.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from simulators.leaping_clock import YEAR_S, LeapingClock
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]


@pytest.mark.parametrize("restored", [True, False], ids=["card put back", "number lost"])
def test_a_device_whose_starts_ran_ahead_is_heard_again(tmp_path: Path, restored: bool) -> None:
    clock = LeapingClock(tmp_path / "clock")
    with Fleet(tmp_path) as fleet:
        fleet.up()
        for version in ("1.0.0", "2.0.0"):
            fleet.publish(version)
        fleet.programs.edgemm = clock.program(tmp_path / "edgemm-leaping")
        device = Device(fleet, "cam").start(token=fleet.token())
        eventually(device.online, "it is online")
        fleet.rollout("1.0.0", "--group", "100%")
        device.kill()
        shutil.copytree(device.state, tmp_path / "card")

        clock.ahead(2 * YEAR_S)
        device.start()
        eventually(lambda: _starts(device) > _starts_kept(tmp_path / "card") + YEAR_S, "the manager heard that start")
        device.kill()

        clock.ahead(0.0)
        if restored:
            shutil.rmtree(device.state)
            shutil.copytree(tmp_path / "card", device.state)
        else:
            (device.state / "boot.json").unlink()
        device.start()
        eventually(lambda: _starts(device) == _starts_kept(device.state), "the manager hears this start")
        eventually(device.online, "it is shown as online")
        fleet.rollout("2.0.0", "--group", "100%", "--deadline", "60s")
        eventually(lambda: device.version() == "2.0.0", "it serves what was rolled out")
        assert "reports_older" not in fleet.ok("devices", "list")


def _starts(device: Device) -> int:
    reported = device.report()["reported"]
    return 0 if reported is None else int(reported["boot_count"])


def _starts_kept(folder: Path) -> int:
    return int(json.loads((folder / "boot.json").read_text())["count"])
