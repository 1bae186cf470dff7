"""A typing error in `--where`: the rollout matches no device.

Right: `rollout create … --wait` says that no device matches and ends with a status that is not 0; in a script nothing
goes on as if the version were out. The same with an empty fleet, with a version that is everywhere already, and where
all devices are removed meanwhile. Ctrl-C ends the waiting alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.waiting import eventually
from tests.unit.core.bundles import small_bundle
from tests.unit.fleet.commands.fleets import HEEDING, Served
from tests.unit.fleet.server.test_process import Join, join, logged_in, served

pytestmark = pytest.mark.slow
__all__ = ["join", "logged_in", "served"]
CREATE = ("rollout", "create", "digits", "1.0.0", "--deadline", "60s", "--probation", "0s")


@pytest.fixture
def fleet(logged_in: Served, tmp_path: Path) -> Served:
    path = tmp_path / "digits-1.0.0.edgemm"
    small_bundle(path, version="1.0.0")
    logged_in.admin.run("publish", str(path))
    return logged_in


def test_a_rollout_to_nobody_says_so_and_fails(fleet: Served, join: Join) -> None:
    admin = fleet.admin
    assert "no device is enrolled in this fleet, so there is nothing to do" in admin.run(*CREATE, "--wait", status=1)
    join("cam")
    nowhere = (*CREATE, "--where", "site=nowhere")
    assert "no device matches site=nowhere, so there is nothing to do" in admin.run(*nowhere, "--wait", status=1)
    assert "no device matches site=nowhere" in admin.run(*nowhere, "--start", status=1)
    assert "no device matches site=nowhere" in admin.run(*nowhere, status=1), "nor is it a draft"
    assert admin.json("rollout", "list") == []
    assert "finished; group 1: no device matches" in admin.run(*nowhere, "--wait", "--allow-empty")
    assert "no device 'cma' in this fleet" in admin.run(*CREATE, "--device", "cma", "--wait", status=1)
    assert "finished" in admin.run(*CREATE, "--wait")
    assert "all 1 devices that match have it already" in admin.run(*CREATE, "--wait", status=1)
    assert "no device matches site=nowhere" in admin.run(
        "shadow", "set", "digits", "1.0.0", "--where", "site=nowhere", status=1
    )


def test_ctrl_c_ends_the_wait_alone_and_a_removal_ends_the_rollout(fleet: Served, join: Join) -> None:
    device = join("cam")
    device.silent = True
    environment = os.environ | {"XDG_CONFIG_HOME": str(fleet.admin.config), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", HEEDING, "fleet", *CREATE, "--wait"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    waiting = subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]
    assert waiting.stdout is not None
    assert "running" in waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    rollout = fleet.admin.json("rollout", "list")[0]
    assert waiting.returncode == 130, said
    assert f"rollout {rollout['id']} goes on without this" in said
    assert f"edgemm fleet rollout status {rollout['id']} --watch" in said
    assert rollout["state"] == "running"
    fleet.admin.run("devices", "remove", device.id)

    def halted() -> bool:
        return bool(fleet.admin.json("rollout", "status", rollout["id"])["rollout"]["state"] == "halted")

    eventually(halted, "it does not wait for a device that was removed")
    ended = fleet.admin.run("rollout", "status", rollout["id"], "--watch", status=1)
    assert "group 1: each of its devices was removed from the fleet" in ended
    assert "no device 'cam" in fleet.admin.run("devices", "remove", device.id, status=1)
