"""A real device whose fleet manager or broker keeps it waiting: it hears the other one, and obeys SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm_runtime.agent.connection.enrolment import identify
from edgemm_runtime.agent.state.agent_options import AgentOptions
from edgemm_runtime.agent.state.documents import IdentityFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from simulators.fleet import SimulatedFleet
from simulators.hostile_server import NO_TCP, NO_TLS, HostileServer

pytestmark = pytest.mark.slow
OBEYED_S = 30
"""What the systemd unit gives it before it is killed."""


@pytest.fixture
def fleet() -> Iterator[SimulatedFleet]:
    with SimulatedFleet() as fleet:
        yield fleet


@pytest.fixture
def state(fleet: SimulatedFleet, tmp_path: Path) -> Path:
    """The state folder of a device that enrolled, and has not seen the director's keys yet."""
    path = tmp_path / "state"
    folder = StateFolder(path)
    identify(folder, AgentOptions(fleet_url=fleet.url, state_dir=path, token=fleet.token(), name="pi"))
    folder.close()
    return path


@contextmanager
def device(url: str, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "edgemm", "run", "--fleet", url, "--state-dir", str(state), "--port", "0"]
    command += ["--telemetry-interval", "1s"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "manner",
    [
        "silent",
        "byte by byte in the head",
        "byte by byte in the body",
        "byte by byte in the size of a chunk",
        "100 Continue, slowly",
        NO_TLS,
        NO_TCP,
    ],
)
def test_a_fleet_manager_that_keeps_it_waiting(manner: str, fleet: SimulatedFleet, state: Path) -> None:
    with HostileServer(manner) as server, device(server.url, state) as process:
        assert server.asked.wait(60)
        name = fleet.only_device()
        fleet.wait_for(lambda: name in fleet.reported)
        fleet.desire(name)  # by keys that it cannot have: it waits for them, and goes on meanwhile
        fleet.wait_for(lambda: fleet.windows(name) >= 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(OBEYED_S) == 0


@pytest.mark.parametrize("manner", ["silent", "byte by byte in the first line", NO_TLS])
def test_a_broker_that_keeps_it_waiting(manner: str, fleet: SimulatedFleet, state: Path) -> None:
    folder = StateFolder(state)
    identity = folder.read("identity.json", IdentityFile)
    assert identity
    with HostileServer(manner) as broker:
        access = replace(identity.broker, port=broker.port, tls=manner == NO_TLS)
        folder.write("identity.json", replace(identity, broker=access), mode=0o600)
        folder.close()
        with device(fleet.url, state) as process:
            assert broker.asked.wait(60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(OBEYED_S) == 0


@pytest.mark.parametrize("manner", ["byte by byte in the head", NO_TLS])
def test_a_fleet_manager_that_keeps_it_waiting_when_it_enrols(
    manner: str, fleet: SimulatedFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEMM_TOKEN", fleet.token())
    with HostileServer(manner) as server, device(server.url, tmp_path / "new") as process:
        assert server.asked.wait(60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(OBEYED_S) == -signal.SIGTERM, "nothing is served yet: the system ends it"
