"""A model that passes every test and then fails in service is turned back by the device alone, in a real process.

Its interpreter counts inferences and from some number on drifts, fails, gets slow, or never returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import urllib3

from edgemm.messages import Probation
from simulators.fleet import SimulatedFleet
from simulators.forked_agents import AgentServer, ForkedAgent, Life
from simulators.late_failures import Failure, make_late_bundle
from simulators.models import Dense, make_bundle
from simulators.ports import free_port
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
X = [0.1, -0.2, 0.3, -0.4]
ON_TRIAL = Probation(min_duration_s=3600, selftest_interval_s=0.05, min_requests=4, max_latency_s=0.002)
VERSIONS = {Failure.DRIFT: "2.0.1", Failure.ERRORS: "2.0.2", Failure.SLOW: "2.0.3", Failure.HANG: "2.0.4"}
AFTER = 60
"""Two golden samples when it is loaded, eight every 50 ms from then on."""
REASONS = {
    Failure.DRIFT: {"selftest_failed"},
    Failure.ERRORS: {"selftest_failed", "errors"},
    Failure.SLOW: {"latency"},
    Failure.HANG: {"hang"},
}


@pytest.fixture(scope="module")
def agents() -> Iterator[AgentServer]:
    with AgentServer() as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    with SimulatedFleet() as fleet:
        make_bundle(tmp_path / "1", version="1.0.0", seed=0, variants=("tflite:float32",))
        fleet.publish(tmp_path / "1")
        for failure, version in VERSIONS.items():
            make_late_bundle(tmp_path / version, version=version, seed=1, failure=failure, after=AFTER)
            fleet.publish(tmp_path / version)
        yield fleet


def _start(agents: AgentServer, fleet: SimulatedFleet, folder: Path) -> ForkedAgent:
    token = None if folder.exists() else fleet.token()
    agent = agents.start(Life(url=fleet.url, state_dir=str(folder), port=free_port(), ports=fleet.ports, token=token))
    eventually(lambda: fleet.devices, "it is enrolled")
    return agent


def _serves(agent: ForkedAgent, version: str, *, seed: int) -> bool:
    status, found, scores = agent.answer(X)
    if (status, found) != (200, version):
        return False
    return bool(np.allclose(scores, Dense.random(seed).predict(np.array([X], np.float32))[0], atol=1e-4))


def _health(agent: ForkedAgent) -> int:
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request("GET", f"{agent.address}/healthz", timeout=30).status


@pytest.mark.parametrize("failure", VERSIONS)
def test_a_model_that_fails_in_service(
    failure: Failure, agents: AgentServer, fleet: SimulatedFleet, tmp_path: Path
) -> None:
    agent = _start(agents, fleet, tmp_path / "device")
    device, version = fleet.only_device(), VERSIONS[failure]
    fleet.desire(device, fleet.model("tiny", "1.0.0"))
    fleet.wait_for(lambda: fleet.state(device, "tiny", "1.0.0") == "committed")
    fleet.desire(device, fleet.model("tiny", version, probation=ON_TRIAL))
    fleet.wait_for(lambda: "probation" in fleet.path("tiny", version))
    fleet.stop_broker()

    eventually(lambda: _serves(agent, "1.0.0", seed=0), "the old model serves again, and nobody told the device to")
    assert _health(agent) == 200
    assert all(_serves(agent, "1.0.0", seed=0) for _ in range(50))

    fleet.start_broker()
    fleet.wait_for(lambda: fleet.state(device, "tiny", version) == "rolled_back")
    model = fleet.reported_model(device, "tiny")
    assert model is not None
    assert model.active_version == "1.0.0"
    assert model.reason in REASONS[failure]
    assert agent.stop() == 0
    again = _start(agents, fleet, tmp_path / "device")
    eventually(lambda: _serves(again, "1.0.0", seed=0), "it serves after a start")
    assert again.stop() == 0


@pytest.mark.parametrize("failure", [Failure.DRIFT, Failure.HANG])
def test_a_first_install_that_fails_leaves_nothing_that_serves(
    failure: Failure, agents: AgentServer, fleet: SimulatedFleet, tmp_path: Path
) -> None:
    agent = _start(agents, fleet, tmp_path / "device")
    device, version = fleet.only_device(), VERSIONS[failure]
    fleet.desire(device, fleet.model("tiny", version, probation=ON_TRIAL))
    fleet.wait_for(lambda: fleet.state(device, "tiny", version) == "failed")
    eventually(lambda: agent.answer(X)[0] == 404, "nothing answers")
    assert _health(agent) == 503
    model = fleet.reported_model(device, "tiny")
    assert model is not None
    assert (model.active_digest, model.reason in REASONS[failure]) == (None, True)
    assert agent.stop() == 0
