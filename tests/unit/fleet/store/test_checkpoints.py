"""The checkpoints of SQLite's log: none of them is made while others wait for the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc

from edgemm_fleet.store import Store, Transaction
from edgemm_fleet.store.dialects import checkpoints
from edgemm_fleet.store.dialects.checkpoints import LOG_BYTES, Checkpoints

pytestmark = [pytest.mark.fleet, pytest.mark.sqlite]
A_LOT = LOG_BYTES + LOG_BYTES // 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    with store.write() as tx:
        tx.exec_driver_sql("CREATE TABLE filled (one BLOB)")
    yield store
    store.close()


def fill(tx: Transaction, size: int = A_LOT) -> None:
    tx.exec_driver_sql("INSERT INTO filled VALUES (randomblob(?))", (size,))


def log_bytes(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


def test_a_commit_leaves_the_copying_to_whoever_has_written(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_after_write", lambda: None)
    before = path.stat().st_size
    for _ in range(3):
        with store.write() as tx:
            fill(tx)
    assert path.stat().st_size == before, "nothing was copied"
    assert log_bytes(path) > 3 * A_LOT


def test_the_log_is_copied_while_nobody_has_the_writer(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, copy = list[bool](), Checkpoints._copy

    def watched(self: Checkpoints) -> None:
        copied.append(store._writer.locked())
        copy(self)

    monkeypatch.setattr(Checkpoints, "_copy", watched)
    for _ in range(12):
        with store.write() as tx:
            fill(tx, LOG_BYTES * 3 // 8)
    assert copied == [False] * 4
    with store.write() as tx:
        fill(tx, 1)
    assert log_bytes(path) == LOG_BYTES, "it began anew"
    assert copied == [False] * 4, "a short log is left alone"
    assert path.stat().st_size > 4 * LOG_BYTES


def test_a_log_that_is_read_is_copied_to_the_end_later(store: Store, path: Path) -> None:
    with store.read() as tx:
        tx.exec_driver_sql("SELECT count(*) FROM filled").scalar()
        for _ in range(3):
            with store.write() as other:
                fill(other)
        assert log_bytes(path) > 3 * A_LOT
    for _ in range(3):
        with store.write() as tx:
            fill(tx)
    assert log_bytes(path) < 3 * A_LOT


def test_a_log_that_grows_all_the_time_is_copied_to_the_end_while_nobody_writes(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, copy = list[bool](), Checkpoints._copy

    def overtaken(self: Checkpoints) -> None:
        held.append(store._writer.locked())
        if held[-1]:
            copy(self)
            return
        with store.write() as tx:  # it has begun before the copy, and is done after it
            fill(tx, 1)
            copy(self)

    monkeypatch.setattr(Checkpoints, "_copy", overtaken)
    monkeypatch.setattr(checkpoints, "_TOO_LONG", 2 * A_LOT)
    for _ in range(2):
        with store.write() as tx:
            fill(tx)
    assert held == [False, False, True]
    with store.write() as tx:
        fill(tx, 1)
    assert log_bytes(path) == LOG_BYTES, "it began anew"


@pytest.mark.parametrize(
    "err", [sqlite3.OperationalError("disk I/O error"), exc.TimeoutError("disk I/O error, or no connection")], ids=repr
)
def test_a_checkpoint_that_fails_is_told_of_and_costs_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, err: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise err

    monkeypatch.setattr(Checkpoints, "_copy", fail)
    with store.write() as tx:
        fill(tx)
    with store.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM filled").scalar() == 1
    assert "checkpoint_failed" in caplog.text
    assert "disk I/O error" in caplog.text
