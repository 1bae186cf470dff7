"""Whoever holds the manager's address answers a device's request for metadata one byte a second.

Right: the device gives the request up by a total time (60 s; its read timeout is 2 s) and goes on with its work. Here
the total is a twentieth of a device's own.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edgemm.errors import UnreachableError
from edgemm.transport.patience import HttpPatience
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.trusted_time import trusted_time
from edgemm_runtime.agent.update.trusted_versions import TrustedVersions
from simulators.fleet import SimulatedFleet
from simulators.hostile_server import HostileServer

SLOW_S = 3.0


@pytest.mark.slow
def test_metadata_is_given_up_by_a_total_time(tmp_path: Path) -> None:
    assert AgentLimits().slow_s == HttpPatience.slow_s == 60.0, "of a device that nobody configured"
    failed: list[Exception] = []
    with SimulatedFleet(broker=False) as fleet, HostileServer("byte by byte in the body", pause_s=0.05) as server:
        connection = FleetConnection(
            server.url, tls_fingerprint=None, connect_timeout_s=2, read_timeout_s=2, slow_s=SLOW_S
        )
        versions = TrustedVersions(
            tmp_path, connection, root=fleet.tuf.root, now=lambda: trusted_time(time.time(), last_s=0)
        )

        def ask() -> None:
            try:
                versions.documents()
            except UnreachableError as err:
                failed.append(err)

        begun_s = time.monotonic()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "still waiting after twenty times as long"
        assert time.monotonic() - begun_s > SLOW_S * 0.9, "bytes came all the while: no silence ended it"
    assert failed
