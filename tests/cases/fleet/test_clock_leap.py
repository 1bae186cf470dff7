"""A device's clock is five years ahead for some seconds, as by a bad battery or a wrong NTP server; then right.

Right: the device takes updates again once its clock is right, and it and the manager do not send the same two messages
in a loop.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from edgemm import times
from simulators.leaping_clock import YEAR_S, LeapingClock
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]


def test_a_device_that_was_years_ahead_takes_the_next_rollout(tmp_path: Path) -> None:
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

        clock.ahead(5 * YEAR_S)
        device.start()
        assert device.program.wait_for(r"time stated fleet=\S+ lowered_s=(\d+)") != "0", "it believed the clock first"
        device.kill()

        clock.ahead(0.0)
        device.start()
        fleet.rollout("2.0.0", "--group", "100%", "--deadline", "60s")
        eventually(lambda: device.version() == "2.0.0", "it serves what was rolled out")
        assert device.program.text.count("refused") < 10
        kept = json.loads((device.state / "time.json").read_text())["trusted"]
        assert times.from_text(kept) < time.time() + 3600
