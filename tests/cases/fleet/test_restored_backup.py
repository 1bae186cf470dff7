"""The manager's folder is restored from a backup that is one rollout old; the next rollout starts at once.

Right: the manager hears from the device which generation it had, goes above it, and the new version arrives. A device
that refuses a generation of another content is not counted as a failure of the version.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]
OPTIONS = ("--group", "100%", "--probation", "1s", "--deadline", "60s")


def test_the_next_rollout_after_a_restored_backup_arrives(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        fleet.up()
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            fleet.publish(version)
        device = Device(fleet, "cam").start(token=fleet.token())
        eventually(device.online, "it is online")
        fleet.rollout("1.0.0", *OPTIONS)
        fleet.server.terminate()
        shutil.copytree(fleet.folder, tmp_path / "backup")
        fleet.serve()
        eventually(device.online, "it is back")
        fleet.rollout("2.0.0", *OPTIONS)
        lost = device.report()["reported"]["generation"]
        device.program.terminate()
        fleet.server.terminate()
        shutil.rmtree(fleet.folder)
        (tmp_path / "backup").rename(fleet.folder)
        fleet.serve()
        rollout = fleet.json("rollout", "create", "tiny", "3.0.0", *OPTIONS, "--start")["rollout"]["id"]
        device.start()
        eventually(lambda: fleet.rollout_state(rollout) != "running", "the rollout is over")
        assert fleet.rollout_state(rollout) == "finished", fleet.last_rollout()
        assert device.wait_until_ready().version() == "3.0.0"
        assert device.report()["reported"]["generation"] > lost
        assert "refused" not in device.program.text
