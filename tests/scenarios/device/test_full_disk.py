"""A whole agent whose state lies on a disk of 0 free bytes: it serves, turns back, commits, restarts, and goes on."""

from __future__ import annotations

import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edgemm.messages import Probation
from simulators.fleet import SimulatedFleet
from simulators.forked_agents import AgentServer, ForkedAgent, Life, SelfTest
from simulators.full_disk import FILLER, fill, free_bytes, make_room
from simulators.late_failures import Failure, make_late_bundle
from simulators.models import make_bundle
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.disks import small_disk

pytestmark = pytest.mark.slow
KIB = 1024
DISK_BYTES, SPOOL_BYTES, A_DOCUMENT_BYTES = 6 * 1024 * KIB, 512 * KIB, 64 * KIB
OLD, GOOD, WRONG, LATE, LATER = "1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0"
X = [0.1, -0.2, 0.3, -0.4]
ON_TRIAL = Probation(min_duration_s=0.2, selftest_interval_s=0.05)


TO_ACTIVATING = ("accepted", "downloading", "verified", "staged", "activating")


@dataclass(frozen=True)
class Case:
    """Version `new` is wanted; the disk is full from `filled` on; power is lost at `killed`."""

    new: str
    filled: str
    path: tuple[str, ...]
    serves: str
    killed: str = ""


STAYS = (*TO_ACTIVATING, "probation", "committed")
WRONG_AT_ONCE = (*TO_ACTIVATING, "rolling_back", "rolled_back")
WRONG_LATER = (*TO_ACTIVATING, "probation", "rolling_back", "rolled_back")
CASES = {
    "before it is wanted": Case(GOOD, "", ("accepted", "rejected"), OLD),
    "filled after accepted": Case(GOOD, "after:accepted", ("accepted", "rejected"), OLD),
    "filled after downloading": Case(GOOD, "after:downloading", ("accepted", "downloading", "rejected"), OLD),
    **{f"filled after {state}": Case(GOOD, f"after:{state}", STAYS, GOOD) for state in STAYS[2:]},
    **{
        f"a wrong model, filled after {state}": Case(WRONG, f"after:{state}", WRONG_AT_ONCE, OLD)
        for state in WRONG_AT_ONCE[2:-1]
    },
    **{
        f"a model that gets wrong, filled after {state}": Case(LATE, f"after:{state}", WRONG_LATER, OLD)
        for state in ("activating", "probation", "rolling_back")
    },
    **{
        f"killed {when}": Case(GOOD, "before:verified", STAYS, GOOD, killed=when)
        for when in (*(f"after:{state}" for state in STAYS[2:]), "before:committed")
    },
    **{
        f"a wrong model, killed {when}": Case(WRONG, "before:verified", WRONG_AT_ONCE, OLD, killed=when)
        for when in ("before:rolling_back", "after:rolling_back", "after:rolled_back")
    },
}


@dataclass(frozen=True)
class Device:
    """A device that committed version 1, and the fleet that it belongs to."""

    fleet: SimulatedFleet
    agents: AgentServer
    id: str
    template: Path

    def life(self, folder: Path, *, filled: str = "", killed: str = "") -> ForkedAgent:
        """Start its agent over a state folder; the log lies on another disk."""
        return self.agents.start(
            Life(
                url=self.fleet.url, state_dir=str(folder), port=free_port(), ports=self.fleet.ports,
                log=str(folder.parent.parent / "log"), fill=filled, kill_write=killed, spool_bytes=SPOOL_BYTES,
                selftest=SelfTest.NONE,
            )
        )  # fmt: skip

    def want(self, version: str, *, attempt: int = 1) -> None:
        self.fleet.desire(self.id, self.fleet.model("tiny", version, probation=ON_TRIAL, attempt=attempt))

    def wait_for(self, version: str, state: str) -> None:
        self.fleet.wait_for(lambda: self.fleet.state(self.id, "tiny", version) == state)

    def why(self) -> str:
        """Return what it says of the last update's end."""
        model = self.fleet.reported_model(self.id, "tiny")
        return f"{model.reason}: {model.detail}" if model else ""

    def _ends(self, version: str, path: tuple[str, ...]) -> bool:
        return self.fleet.path("tiny", version)[-1:] == list(path[-1:])

    def goes_on(self, told: dict[str, tuple[str, ...]]) -> None:
        """See an update go through, and the fleet hear of each transition, those of the full disk too."""
        self.want(LATER)
        self.wait_for(LATER, "committed")
        for version, path in (told | {LATER: STAYS}).items():
            self.fleet.wait_for(partial(self._ends, version, path))
            assert tuple(self.fleet.path("tiny", version)) == path
        assert not self.fleet.problems


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp("bundles")
    with SimulatedFleet() as fleet, AgentServer() as agents:
        for seed, version in enumerate((OLD, GOOD, WRONG, LATER)):
            path = folder / version
            make_bundle(path, version=version, seed=seed, variants=("tflite:float32",), scramble=version == WRONG)
            fleet.publish(path)
        make_late_bundle(folder / LATE, version=LATE, seed=9, failure=Failure.DRIFT, after=20)
        fleet.publish(folder / LATE)
        state = folder / "disk" / "state"
        state.parent.mkdir()
        life = Life(url=fleet.url, state_dir=str(state), port=free_port(), ports=fleet.ports, token=fleet.token())
        agent = agents.start(life)
        eventually(lambda: fleet.devices, "it is enrolled")
        device = Device(fleet, agents, fleet.only_device(), state)
        device.want(OLD)
        device.wait_for(OLD, "committed")
        assert agent.stop() == 0
        yield device


@pytest.fixture
def folder(device: Device, tmp_path: Path) -> Iterator[Path]:
    """A copy of the device's state on a small disk; the fleet has heard nothing of it, and wants version 1."""
    with small_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk:
        shutil.copytree(device.template, disk / "state", symlinks=True)
        device.fleet.forget(device.id)
        device.want(OLD)
        yield disk / "state"
        device.agents.kill()


@contextmanager
def asked(agent: ForkedAgent) -> Iterator[Counter[tuple[int, str]]]:
    """Ask for predictions all the time, from the first that is answered; yield what came, by status and version."""
    found: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            status, version, _ = agent.answer(X)
            found[status, version] += 1

    eventually(lambda: agent.answer(X)[0] == 200, "it answers")
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("name", CASES)
def test_an_update_on_a_full_disk(name: str, device: Device, folder: Path) -> None:
    case, disk = CASES[name], folder.parent
    agent = device.life(folder, filled=case.filled, killed=case.killed)
    if case.killed:
        eventually(lambda: agent.answer(X)[0] == 200, "it answers")
        device.want(case.new)
        assert agent.wait() == -signal.SIGKILL
        assert free_bytes(disk) < A_DOCUMENT_BYTES
        agent = device.life(folder)
    with asked(agent) as answers:
        if not case.filled:
            fill(disk)
        if not case.killed:
            device.want(case.new)
        device.wait_for(case.new, case.path[-1])
        eventually(lambda: agent.answer(X)[1] == case.serves, f"{case.serves} serves")
        assert free_bytes(disk) < A_DOCUMENT_BYTES, "it was full all the time"
        make_room(disk)
        device.goes_on({case.new: case.path})
    assert {status for status, _ in answers} == {200}, answers
    assert agent.stop() == 0


def test_what_is_needed_and_what_was_found_is_told(device: Device, folder: Path) -> None:
    agent = device.life(folder)
    with asked(agent):
        fill(folder.parent)
        device.want(GOOD)
        device.wait_for(GOOD, "rejected")
        assert re.search(
            r"^no_space: tflite:float32 needs 1,160 bytes of disk, 0 are free \(of [\d,]+ free bytes 0 are kept for "
            r"the device's state and [\d,]{7} for its spool\)$",
            device.why(),
        ), device.why()
    assert agent.stop() == 0


def test_a_disk_that_fills_while_a_blob_arrives_ends_the_update_alone(
    device: Device, folder: Path, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "big", version="6.0.0", seed=6, variants=("tflite:float32",), samples=1000)
    device.fleet.publish(tmp_path / "big")
    faults = device.fleet.http.faults
    faults.hold_after = 8192
    faults.reached.clear()
    agent = device.life(folder)
    with asked(agent) as answers:
        device.want("6.0.0")
        assert faults.reached.wait(60)
        fill(folder.parent)
        faults.hold_after = None
        faults.release.set()
        device.wait_for("6.0.0", "rejected")
        assert device.why().startswith("no_space: ")
        eventually(lambda: not list(folder.glob("partial/*")), "what had arrived is removed")
        make_room(folder.parent)
        device.want("6.0.0", attempt=2)
        device.wait_for("6.0.0", "committed")
    assert {status for status, _ in answers} == {200}, answers
    assert agent.stop() == 0
    faults.release.clear()


def test_it_starts_on_a_full_disk_and_counts_what_it_cannot_keep(device: Device, folder: Path) -> None:
    disk, tries = folder.parent, 5
    fill(disk)
    agent = device.life(folder)
    with asked(agent) as answers:
        for attempt in range(1, tries + 1):
            device.want(WRONG, attempt=attempt)
            device.fleet.wait_for(partial(_has_rejected, device, attempt))
            fill(disk)
        log = (disk.parent / "log").read_text()
        assert "spool cannot" in log
        assert len(log.splitlines()) < 20 * tries, "it does not fill the log too"
        make_room(disk)
        device.goes_on({WRONG: ("accepted", "rejected") * tries})
        device.fleet.wait_for(lambda: _dropped(device) > 0)
    assert {status for status, _ in answers} == {200}, answers
    assert agent.stop() == 0


def test_the_fleet_can_take_an_update_back_on_a_full_disk(device: Device, folder: Path) -> None:
    agent = device.life(folder)
    with asked(agent) as answers:
        device.want(GOOD)
        device.wait_for(GOOD, "committed")
        fill(folder.parent)
        device.want(OLD)
        device.wait_for(OLD, "committed")
        eventually(lambda: agent.answer(X)[1] == OLD, "the old one serves")
        assert free_bytes(folder.parent) < A_DOCUMENT_BYTES
    assert {status for status, _ in answers} == {200}, answers
    assert agent.stop() == 0


def test_somebody_who_takes_every_byte_as_it_becomes_free_does_not_stop_an_update(device: Device, folder: Path) -> None:
    over = threading.Event()

    def take() -> None:
        while not over.wait(0.001):
            fill(folder.parent)

    greedy = threading.Thread(target=take)
    agent = device.life(folder, filled="before:verified")
    with asked(agent) as answers:
        device.want(GOOD)
        eventually((folder.parent / FILLER).exists, "the disk is full")
        greedy.start()
        try:
            device.wait_for(GOOD, "committed")
            eventually(lambda: agent.answer(X)[1] == GOOD, "the new one serves")
        finally:
            over.set()
            greedy.join()
    assert {status for status, _ in answers} == {200}, answers
    assert agent.stop() == 0


def _has_rejected(device: Device, times: int) -> bool:
    return _rejected(device) == times


def _rejected(device: Device) -> int:
    """Return the attempt that a device reports to have rejected."""
    model = device.fleet.reported_model(device.id, "tiny")
    return model.attempt if model and model.state.value == "rejected" and model.attempt else 0


def _dropped(device: Device) -> int:
    """Return how many messages a device says it could not keep."""
    return max((window.spool.dropped for window in list(device.fleet.telemetry.values())), default=0)
