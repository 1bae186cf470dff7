from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from edgemm.errors import EnvironmentFailure, NewerFormatError
from edgemm_fleet.store import Store, audit
from edgemm_fleet.store.revisions import NEWEST
from edgemm_fleet.worker import ToldFailure


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "fleet.db")
    yield store
    store.close()


def note(store: Store, action: str) -> None:
    with store.write() as tx:
        audit.add(tx, at=1.0, actor="person:ann", action=action, subject="x")


def actions(store: Store) -> list[str]:
    with store.read() as tx:
        return [record.action for record in audit.page(tx).items]


def test_what_a_block_wrote_is_there_after_another_process_opens_the_file(store: Store) -> None:
    note(store, "first")
    again = Store.open(store.path)
    assert actions(again) == ["first"]
    again.close()


def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError, match="halfway"), store.write() as tx:
        audit.add(tx, at=1.0, actor="person:ann", action="half", subject="x")
        raise RuntimeError("halfway")
    assert actions(store) == []


@pytest.mark.sqlite
def test_acknowledged_means_synced_to_disk(store: Store) -> None:
    with store.read() as tx:
        assert tx.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert tx.execute(text("PRAGMA synchronous")).scalar() == 2, "2 is FULL; NORMAL may lose commits with the power"


def test_writers_take_turns(store: Store) -> None:
    def write_many(name: str) -> None:
        for number in range(20):
            note(store, f"{name}-{number}")

    threads = [threading.Thread(target=write_many, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert len(audit.page(tx, limit=1000).items) == 80


def test_a_reader_sees_one_state_while_another_writes(store: Store) -> None:
    note(store, "first")
    with store.read() as tx:
        assert len(audit.page(tx).items) == 1
        note(store, "second")
        assert len(audit.page(tx).items) == 1
    assert actions(store) == ["second", "first"]


def test_a_database_of_a_newer_edgemm_is_refused_by_name(store: Store) -> None:
    with store.write() as tx:
        tx.execute(text("UPDATE meta SET value = '99' WHERE key = 'schema_version'"))
    with pytest.raises(NewerFormatError, match="fleet database schema 99 is newer than 2"):
        Store.open(store.path)


def test_a_database_of_a_newer_revision_is_refused_by_name(store: Store) -> None:
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    with pytest.raises(NewerFormatError, match=f"fleet database schema 0099 is newer than {NEWEST}"):
        Store.open(store.path)


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(EnvironmentFailure, match=r"fleet database .*fleet\.db: file is not a database"):
        Store.open(path)


@pytest.mark.sqlite
def test_a_folder_that_is_missing_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"fleet database .*: unable to open database file"):
        Store.open(tmp_path / "missing" / "fleet.db")


@pytest.mark.sqlite
def test_a_full_disk_loses_nothing_and_is_one_clear_line(store: Store) -> None:
    note(store, "kept")
    message = "database or disk is full; nothing of this step was kept"
    with pytest.raises(EnvironmentFailure, match=message), store.write() as tx:
        tx.execute(text("PRAGMA max_page_count = 1"))
        for number in range(200):
            audit.add(tx, at=1.0, actor="person:ann", action=f"lost-{number}", subject="x", detail="y" * 4000)
    assert actions(store) == ["kept"]


@pytest.mark.sqlite
@pytest.mark.parametrize("act", ["remove", "replace", "remove its log"])
def test_a_file_that_is_no_longer_in_its_place_takes_no_write(tmp_path: Path, act: str) -> None:
    """SQLite goes on with the file that it opened: what is acknowledged then is nowhere after the next start."""
    place, aside = tmp_path / "fleet.db", tmp_path / "aside"
    store = Store.open(place)
    note(store, "kept")
    moved = tmp_path / "fleet.db-wal" if act == "remove its log" else place
    moved.rename(aside)
    if act == "replace":
        Store.open(tmp_path / "other.db").close()
        (tmp_path / "other.db").rename(place)
    found = "the file was replaced" if act == "replace" else "the file or its log was removed"
    with pytest.raises(ToldFailure, match=rf"fleet\.db: {found} while the manager runs; .*: stop the manager, put"):
        note(store, "lost")
    assert found in store.writing.error
    assert store.writing.failing_s() is not None
    aside.replace(moved)
    note(store, "goes on")
    assert actions(store) == ["goes on", "kept"]
    store.close()


def test_lists_come_in_pages_that_neither_repeat_nor_skip(store: Store) -> None:
    for number in range(25):
        note(store, f"n-{number}")
    found, after = [], None
    with store.read() as tx:
        while True:
            page = audit.page(tx, after=after, limit=10)
            found += [record.action for record in page.items]
            after = page.next
            if after is None:
                break
    assert found == [f"n-{number}" for number in reversed(range(25))]


@pytest.mark.parametrize("after", ["", "x", "-1", "9" * 5, "1; DROP TABLE audit"])
def test_a_page_token_of_ones_own_making_is_harmless(store: Store, after: str) -> None:
    note(store, "one")
    with store.read() as tx:
        assert len(audit.page(tx, after=after, limit=0).items) <= 1
    assert actions(store) == ["one"]


@pytest.mark.sqlite
def test_the_file_is_plain_sqlite(store: Store) -> None:
    note(store, "first")
    assert isinstance(store.path, Path)
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("SELECT action FROM audit").fetchall() == [("first",)]
    connection.close()
