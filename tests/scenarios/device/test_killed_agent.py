"""A real agent process killed by SIGKILL in every state of an update: it comes back with the old model or the new.

All but those that end in order are forked, which spares the start of Python.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.agent_process import AgentProcess
from simulators.fleet import SimulatedFleet
from simulators.forked_agents import AgentServer, ForkedAgent, Life
from simulators.models import make_bundle
from simulators.ports import free_port
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
X = [0.1, 0.2, 0.3, 0.4]
STATES = ("accepted", "downloading", "verified", "staged", "activating", "probation", "committed")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedFleet]:
    folder = tmp_path_factory.mktemp("bundles")
    with SimulatedFleet() as fleet:
        for seed, version in enumerate(("1.0.0", "2.0.0")):
            make_bundle(folder / version, version=version, seed=seed, variants=("tflite:float32",))
            fleet.publish(folder / version)
        yield fleet


@pytest.fixture(scope="module")
def agents() -> Iterator[AgentServer]:
    with AgentServer() as server:
        yield server


@pytest.fixture(scope="module")
def with_version_1(fleet: SimulatedFleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a device that enrolled and committed version 1, to be copied."""
    folder = tmp_path_factory.mktemp("device") / "state"
    agent = AgentProcess(fleet.url, folder, port=free_port(), token=fleet.token())
    eventually(lambda: len(fleet.devices) == 1, "it is enrolled")
    device = fleet.only_device()
    fleet.desire(device, fleet.model("tiny", "1.0.0"))
    fleet.wait_for(lambda: fleet.state(device, "tiny", "1.0.0") == "committed")
    assert agent.answer() == (200, "1.0.0")
    assert agent.stop() == 0
    return folder


@pytest.mark.parametrize("point", [f"{when}:{state}" for state in STATES for when in ("before", "after")])
def test_killed_around_the_write_of(
    point: str, agents: AgentServer, fleet: SimulatedFleet, with_version_1: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(with_version_1, folder)
    device = fleet.only_device()
    fleet.reported.clear()
    fleet.desire(device, fleet.model("tiny", "2.0.0"))
    killed = _start(agents, fleet, folder, kill=point)
    assert killed.wait() == -signal.SIGKILL

    # The version that a start serves is tested without a race in `test_crash_points`; here it may have moved on.
    possible = {(200, "2.0.0")} | (set() if point == "after:committed" else {(200, "1.0.0")})
    again = _start(agents, fleet, folder)
    assert _first_answer(again) in possible
    fleet.wait_for(lambda: fleet.state(device, "tiny", "2.0.0") == "committed")
    assert again.answer(X)[:2] == (200, "2.0.0")
    assert again.stop() == 0
    assert not fleet.problems
    _forget(fleet, device)


def test_killed_three_times_on_probation_keeps_the_old_model(
    agents: AgentServer, fleet: SimulatedFleet, with_version_1: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(with_version_1, folder)
    device = fleet.only_device()
    fleet.reported.clear()
    fleet.desire(device, fleet.model("tiny", "2.0.0"))
    for attempt in range(3):
        # The first life reaches probation, the later ones find it and write the loss; all die right after.
        assert _start(agents, fleet, folder, kill="after:probation").wait() == -signal.SIGKILL
        record = json.loads((folder / "models" / "tiny.json").read_bytes())
        assert (record["update"]["state"], record["update"]["power_losses"]) == ("probation", attempt)
        assert record["active"]["version"] == "1.0.0"
    again = _start(agents, fleet, folder)
    fleet.wait_for(lambda: fleet.state(device, "tiny", "2.0.0") == "rolled_back")
    model = fleet.reported_model(device, "tiny")
    assert model is not None
    assert (model.reason, again.answer(X)[:2]) == ("power_loss", (200, "1.0.0"))
    assert again.stop() == 0
    _forget(fleet, device)


def test_killed_in_the_middle_of_a_download_goes_on_where_it_was(
    agents: AgentServer, fleet: SimulatedFleet, with_version_1: Path, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "big", version="3.0.0", seed=9, variants=("tflite:float32",), samples=1000)
    manifest = fleet.publish(tmp_path / "big")
    folder = tmp_path / "state"
    shutil.copytree(with_version_1, folder)
    device = fleet.only_device()
    fleet.reported.clear()
    faults = fleet.http.faults
    faults.hold_after, faults.asked = 8192, []
    faults.reached.clear()
    fleet.desire(device, fleet.model("tiny", manifest.version))
    killed = _start(agents, fleet, folder)
    assert faults.reached.wait(60)
    eventually(lambda: 8192 in {path.stat().st_size for path in folder.glob("partial/*")}, "8 KiB are here")
    assert killed.answer(X)[:2] == (200, "1.0.0")
    killed.send(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    faults.hold_after = None
    faults.release.set()
    again = _start(agents, fleet, folder)
    fleet.wait_for(lambda: fleet.state(device, "tiny", "3.0.0") == "committed")
    assert {offset for _, offset in faults.asked} == {0, 8192}, "what had arrived was not sent again"
    assert again.stop() == 0
    _forget(fleet, device)


def test_ctrl_c_and_sigterm_end_in_order(fleet: SimulatedFleet, with_version_1: Path, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path / f"state-{number}"
        shutil.copytree(with_version_1, folder)
        agent = AgentProcess(fleet.url, folder, port=free_port())
        assert _first_answer(agent) == (200, "1.0.0")
        agent.send(number)
        status = agent.wait()
        assert status == (0 if number == signal.SIGTERM else -signal.SIGINT)


def _forget(fleet: SimulatedFleet, device: str) -> None:
    """Begin the next test with a device whose fleet wants version 1."""
    fleet.events.clear()
    fleet.desire(device, fleet.model("tiny", "1.0.0"))


def _start(agents: AgentServer, fleet: SimulatedFleet, folder: Path, *, kill: str = "") -> ForkedAgent:
    return agents.start(
        Life(url=fleet.url, state_dir=str(folder), port=free_port(), ports=fleet.ports, kill_write=kill)
    )


def _first_answer(agent: AgentProcess | ForkedAgent) -> tuple[int, str]:
    """Return the first answer that is none of a server that is only starting."""
    found = (0, "none")

    def answered() -> bool:
        nonlocal found
        found = agent.answer() if isinstance(agent, AgentProcess) else agent.answer(X)[:2]
        return found[0] == 200

    eventually(answered, "the agent answers")
    return found
