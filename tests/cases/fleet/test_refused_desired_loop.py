"""A device that runs a version comes up again with a clock that is five years ahead; a rollout reaches it.

Right: it refuses, says why, and the manager tells the operator that the clock is wrong. The two don't repeat the same
messages without a pause: fewer than 10 refusals in 10 seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]
AHEAD_S = 5 * 365 * 86400
WATCHED_S = 10.0


def test_a_refusal_is_told_and_not_repeated(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        fleet.up()
        for version in ("1.0.0", "2.0.0"):
            fleet.publish(version)
        device = Device(fleet, "cam").start(token=fleet.token())
        eventually(device.online, "it is online")
        fleet.rollout("1.0.0", "--group", "100%")
        device.program.terminate()
        _start_ahead(fleet, device, tmp_path / "edgemm-ahead")
        eventually(device.online, "it is online again")
        options = ("--group", "100%", "--probation", "0s", "--start")
        rollout = fleet.json("rollout", "create", "tiny", "2.0.0", *options)["rollout"]["id"]

        def healed() -> bool:
            return "activated model=tiny version=2.0.0" in device.program.text  # its time was put right meanwhile

        eventually(lambda: "refused" in device.program.text or healed(), "it refuses")
        before = device.program.text.count("refused")
        time.sleep(WATCHED_S)
        assert device.program.text.count("refused") - before < 10

        def member() -> tuple[str, str | None]:
            (found,) = fleet.api(f"/rollouts/{rollout}/members")["items"]
            return found["state"], found["reason"]

        refused = ("refused", "desired_expired")
        eventually(lambda: member() == refused or healed(), "the member says why it goes no further")
        if healed():
            return
        assert "refuses: desired_expired" in fleet.ok("devices", "list")
        assert "desired_expired" in fleet.ok("devices", "show", device.id)
        assert "desired_expired" in fleet.ok("rollout", "status", rollout)


def _start_ahead(fleet: Fleet, device: Device, program: Path) -> None:
    """Start the device again with a clock that is ahead."""
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\nreal = time.time\ntime.time = lambda: real() + {AHEAD_S}\n"
        "from edgemm.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    arguments = ("run", "--fleet", fleet.device_url, "--port", "0", "--state-dir", device.state)
    device.program = fleet.programs.start("cam-ahead", *arguments, program=program)
