"""A disk of 0 free bytes: state is still written, at every state of an update, and the reserve comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm import durable
from edgemm.errors import EnvironmentFailure
from edgemm.messages import DesiredModel
from edgemm.reasons import Reason
from edgemm.states import UpdateState
from edgemm_runtime.agent.state.documents import BootFile, Installed, ModelFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.update import events, machine
from edgemm_runtime.agent.update.events import Event
from edgemm_runtime.agent.update.journal import Journal
from simulators.full_disk import fill, free_bytes, full
from tests.disks import small_disk

KIB = 1024
SIZE, RESERVE = 2048 * KIB, 512 * KIB
OLD = Installed(digest="a" * 64, version="1.0.0", variant="tflite:float32", threads=1)
NEW = DesiredModel(name="tiny", version="2.0.0", digest="b" * 64)
TROUBLE = events.Trouble(Reason.ERRORS, "10 of 10 requests failed")
STEPS: tuple[Event, ...] = (
    events.Wanted(NEW), events.Prepared("tflite:float32"), events.Fetched(), events.SelfTested(), events.Proceed(),
    events.Activated(),
)  # fmt: skip
ENDS: dict[str, tuple[Event, ...]] = {"committed": (events.Passed(),), "rolled_back": (TROUBLE, events.RolledBack())}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    with small_disk(tmp_path / "disk", size_bytes=SIZE) as folder:
        yield folder


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
            assert free_bytes(disk) == 0
        kept = folder.read("boot.json", BootFile)
        assert kept is not None
        assert kept.count == 50
        assert folder.reserve.held_bytes >= RESERVE - 16 * KIB, "a document that is replaced costs nothing"
    assert folder.reserve.fill() == RESERVE
    folder.close()


def test_somebody_who_takes_whatever_is_free_gets_a_piece_and_not_the_reserve(disk: Path) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=RESERVE)
    with full(disk):
        for count in range(1, 20):
            folder.write("boot.json", BootFile(count=count))
            with folder.reserve.lent(8 * KIB) as lent:
                assert lent
                fill(disk)
        assert folder.reserve.held_bytes >= RESERVE - 20 * 8 * KIB
    folder.close()


def test_a_write_takes_more_of_the_reserve_until_it_is_done(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=RESERVE)
    write, tries = durable.write, 0

    def write_too_late(path: Path, data: bytes, *, mode: int) -> None:
        nonlocal tries
        tries += 1
        if tries in {2, 3}:
            fill(disk)  # somebody else is faster
        write(path, data, mode=mode)

    monkeypatch.setattr(durable, "write", write_too_late)
    with full(disk):
        folder.write("boot.json", BootFile(count=7))
    assert tries == 4
    kept = folder.read("boot.json", BootFile)
    assert kept is not None
    assert kept.count == 7
    folder.close()


def test_what_two_borrow_at_once_neither_takes_from_the_other(disk: Path) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=RESERVE)
    with full(disk):
        with folder.reserve.lent(64 * KIB):
            with folder.reserve.lent(32 * KIB):
                assert free_bytes(disk) == 96 * KIB
            assert folder.reserve.fill() == RESERVE - 64 * KIB
            assert free_bytes(disk) == 64 * KIB
        assert (folder.reserve.held_bytes, free_bytes(disk)) == (RESERVE, 0)
    folder.close()


def test_room_is_made_where_there_is_none_and_only_there(disk: Path) -> None:
    folder = StateFolder(disk / "state", reserve_bytes=RESERVE)
    with folder.room_for(64 * KIB):
        assert folder.reserve.held_bytes == RESERVE
    with full(disk):
        with folder.room_for(64 * KIB):
            assert free_bytes(disk) == 64 * KIB
        assert free_bytes(disk) == 0
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
    assert SIZE / 4 < folder.reserve.held_bytes <= SIZE / 2
    held = folder.reserve.held_bytes
    assert folder.reserve.fill() == held, "the rest is for others, however often it is asked"
    assert os.stat(disk / "state" / "reserve").st_blocks * 512 >= folder.reserve.held_bytes, "really allocated"
    folder.close()
