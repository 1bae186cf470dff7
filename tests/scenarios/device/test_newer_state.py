"""A device whose agent was replaced by an older one: its state files are of a newer version."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgemm import canonical
from edgemm.errors import NewerFormatError
from edgemm_runtime.agent.state.files import STATE_FILES, WhenNewer
from simulators.agent import AgentInThread
from simulators.fleet import QUICK, SimulatedFleet
from simulators.models import make_bundle

pytestmark = pytest.mark.slow
ASIDE = {name for name, file in STATE_FILES.items() if file.when_newer is WhenNewer.PUT_ASIDE}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    make_bundle(tmp_path / "tiny.edgemm", version="1.0.0", variants=("tflite:float32",))
    with SimulatedFleet() as fleet:
        fleet.publish(tmp_path / "tiny.edgemm")
        yield fleet


def _is_served(fleet: SimulatedFleet, agent: AgentInThread) -> None:
    fleet.desire(agent.device, fleet.model("tiny", "1.0.0", probation=QUICK))
    fleet.wait_for(lambda: fleet.state(agent.device, "tiny", "1.0.0") == "committed")
    assert agent.version == "1.0.0"


def _make_newer(path: Path) -> None:
    document = json.loads(path.read_bytes()) | {"v": 2}
    path.write_bytes(canonical.encode(document))


def _told(fleet: SimulatedFleet) -> set[str]:
    return {event.detail.split()[0] for event in fleet.events.values() if event.cause == "state_put_aside"}


def test_it_comes_up_installs_anew_is_heard_and_tells_what_it_put_aside(fleet: SimulatedFleet, tmp_path: Path) -> None:
    path = tmp_path / "device"
    with AgentInThread(fleet, path) as agent:
        _is_served(fleet, agent)
        device = agent.device
    before = fleet.reported[device].boot_count
    (path / "actions.json").write_bytes(canonical.encode({"results": []}))
    names = {"models/tiny.json" if name == "models" else name for name in ASIDE} | {"director.json"}
    for name in names:
        _make_newer(path / name)
    with closing(sqlite3.connect(path / "spool.sqlite")) as database:
        database.execute("PRAGMA user_version = 2")
    with AgentInThread(fleet, path) as agent:
        assert agent.version is None, "a record that it cannot read is not gone by"
        fleet.wait_for(lambda: fleet.state(device, "tiny", "1.0.0") == "committed" and agent.version == "1.0.0")
        fleet.wait_for(lambda: fleet.reported[device].boot_count > before)
        fleet.wait_for(lambda: _told(fleet) == names - {"director.json"})
    for name in [*_told(fleet), "spool.sqlite"]:
        assert (path / f"{name}.v2").is_file()
    with AgentInThread(fleet, path) as agent:
        assert agent.version == "1.0.0", "from its own record"


def test_who_it_is_is_refused_by_name_and_kept(fleet: SimulatedFleet, tmp_path: Path) -> None:
    path = tmp_path / "device"
    with AgentInThread(fleet, path) as agent:
        _is_served(fleet, agent)
    _make_newer(path / "identity.json")
    kept = (path / "identity.json").read_bytes()
    with pytest.raises(
        NewerFormatError, match=r"identity\.json: document version 2 is newer than 1, .*: upgrade edgemm"
    ):
        AgentInThread(fleet, path)
    assert (path / "identity.json").read_bytes() == kept
    assert not list(path.glob("**/*.v2"))
