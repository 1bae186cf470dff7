"""A crowd of simulated devices at a real manager and a real Mosquitto: all come in, obey, and are heard."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]
DEVICES = 20


@pytest.mark.usefixtures("mosquitto")
@pytest.mark.parametrize("options", [("--tls", "--download", "device"), ("--enrolled-apart",)])
def test_a_crowd_goes_through_all_phases(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "benchmarks.fleet_devices", "--devices", str(DEVICES), "--json", *options]
    short = ("--probation", "0.5", "--minutes", "0.02", "--rest", "0.1", "--telemetry", "1")
    done = subprocess.run([*command, *short], capture_output=True, text=True, check=False, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout)
    assert "failed" not in found, (found, done.stderr)
    assert found["rollout"]["counts"] == {"committed": DEVICES}
    assert found["rollout"]["downloads"] == (DEVICES if "--download" in options else 0)
    assert found["watch"]["most_offline_at_a_time"] == 0
    assert found["return"]["all_back"]
    assert found["return"]["unacknowledged_in_the_end"] == 0
    assert found["tell"]["count"] == DEVICES
