"""The disk is full while a device spools: it goes on answering, counts what it cannot keep, and recovers with room."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.messages import Telemetry
from simulators.agent_process import AgentProcess
from simulators.fleet import SimulatedFleet
from simulators.full_disk import full
from simulators.models import make_bundle
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.disks import small_disk

pytestmark = pytest.mark.slow
SIZE_BYTES = 16 * 1024 * 1024
"""Well above what SQLite lets its log grow to."""
LIMITS = {
    "telemetry_interval_s": 0.02, "resend_after_s": 0.5, "backoff_max_s": 0.2, "state_reserve_bytes": 64 * 1024,
    "spool_hold_s": 0.0, "sd_write_bytes_per_day": 2**50, "spool_bytes": 2**22,
}  # fmt: skip
ANSWERS = (200, "1.0.0")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    with small_disk(tmp_path / "disk", size_bytes=SIZE_BYTES) as disk:
        yield disk


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    """A fleet with one version."""
    with SimulatedFleet() as fleet:
        make_bundle(tmp_path / "1.0.0", version="1.0.0", variants=("tflite:float32",))
        fleet.publish(tmp_path / "1.0.0")
        yield fleet
        assert not fleet.problems


@pytest.fixture
def agent(fleet: SimulatedFleet, disk: Path, tmp_path: Path) -> Iterator[AgentProcess]:
    """A device on that disk that runs version 1; its log lies elsewhere."""
    (disk / "state").mkdir()
    (tmp_path / "state").symlink_to(disk / "state")
    agent = AgentProcess(fleet.url, tmp_path / "state", port=free_port(), token=fleet.token(), limits=LIMITS)
    try:
        eventually(lambda: len(fleet.devices) == 1, "it is enrolled")
        fleet.desire(fleet.only_device(), fleet.model("tiny", "1.0.0"))
        fleet.wait_for(lambda: fleet.state(fleet.only_device(), "tiny", "1.0.0") == "committed")
        yield agent
    finally:
        agent.send(signal.SIGKILL)
        agent.wait()


@pytest.mark.parametrize("online", [True, False], ids=["online", "without a broker"])
def test_a_disk_that_fills_costs_windows_that_are_counted_and_nothing_else(
    fleet: SimulatedFleet, agent: AgentProcess, disk: Path, tmp_path: Path, *, online: bool
) -> None:
    log = tmp_path / "state.log"
    if not online:
        fleet.stop_broker()
    with full(disk):
        eventually(lambda: "spool cannot" in log.read_text(), "the spool is full")
        for _ in range(20):
            assert agent.answer() == ANSWERS
    if not online:
        fleet.start_broker()
    fleet.wait_for(lambda: _windows(fleet)[-1].spool.dropped > 0 and _windows(fleet)[-1].spool.waiting <= 2)
    windows = _windows(fleet)
    assert [window.sequence for window in windows] == list(range(1, len(windows) + 1)), "what was kept is whole"
    assert windows[0].spool.dropped == 0
    assert agent.answer() == ANSWERS
    assert "spool damaged" not in log.read_text()
    assert agent.stop() == 0


def _windows(fleet: SimulatedFleet) -> list[Telemetry]:
    """Return what was heard of the one device, in order."""
    return sorted(fleet.telemetry.values(), key=lambda window: window.sequence)
