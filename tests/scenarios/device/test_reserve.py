"""A disk of 0 free bytes: state is still written, at every state of an update, and the reserve comes back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm.messages import DesiredModel
from edgemm.states import UpdateState
from edgemm_runtime.agent.documents import BootFile, Installed, ModelFile
from edgemm_runtime.agent.state_folder import StateFolder
from edgemm_runtime.agent.update import events, machine
from edgemm_runtime.agent.update.events import Event
from edgemm_runtime.agent.update.journal import Journal

KIB = 1024
SIZE, RESERVE = 2048 * KIB, 512 * KIB
OLD = Installed(digest="a" * 64, version="1.0.0", variant="tflite:float32", threads=1)
NEW = DesiredModel(name="tiny", version="2.0.0", digest="b" * 64)
TROUBLE = events.Trouble("errors", "10 of 10 requests failed")
STEPS: tuple[Event, ...] = (
    events.Wanted(NEW), events.Prepared("tflite:float32"), events.Fetched(), events.SelfTested(), events.Proceed(),
    events.Activated(),
)  # fmt: skip
ENDS: dict[str, tuple[Event, ...]] = {"committed": (events.Passed(),), "rolled_back": (TROUBLE, events.RolledBack())}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode()[:100]}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"\0" * 4096)
    assert os.statvfs(disk).f_bavail == 0
    yield
    filler.unlink()


def test_without_a_reserve_nothing_can_be_written(disk: Path) -> None:
    folder = StateFolder(disk / "state")
    with full(disk), pytest.raises(EnvironmentFailure, match="nothing was changed"):
        folder.write("boot.json", BootFile(count=1))
    folder.close()


def test_state_is_written_again_and_again_and_the_reserve_comes_back(disk: Path) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=RESERVE)
    assert folder.reserve.held_bytes == RESERVE
    with full(disk):
        for count in range(1, 51):
            folder.write("boot.json", BootFile(count=count))
            assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize < RESERVE / 2 + 64 * KIB
        kept = folder.read("boot.json", BootFile)
        assert kept is not None
        assert kept.count == 50
        assert folder.reserve.held_bytes >= 32 * KIB, "it is never used up"
    assert folder.reserve.fill() == RESERVE
    folder.close()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("filled_at", range(len(STEPS) + 1))
def test_at_every_state_of_an_update_the_record_goes_on(disk: Path, filled_at: int, end: str) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=RESERVE)
    journal = Journal(folder, tell=lambda *_: True)
    record = ModelFile(name="tiny", active=OLD)
    folder.write_model(record)
    for event in STEPS[:filled_at]:
        record = journal.apply(record, event)
    with full(disk):
        for event in (*STEPS[filled_at:], *ENDS[end]):
            record = journal.apply(record, event)
            assert folder.read_models()["tiny"].update == record.update, "what is on disk is what is acted on"
    assert machine.state(record) is UpdateState(end)
    assert record.active is not None
    assert record.active.version == ("2.0.0" if end == "committed" else "1.0.0")
    folder.close()


def test_a_reserve_that_does_not_fit_takes_what_there_is(disk: Path) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=10 * SIZE)
    assert SIZE / 4 < folder.reserve.held_bytes < SIZE
    assert os.stat(disk / "state" / "reserve").st_blocks * 512 >= folder.reserve.held_bytes, "really allocated"
    folder.close()
