from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from edgemm.errors import EnvironmentFailure, InputError, NewerFormatError
from edgemm.messages import Stream
from edgemm.states import RolloutState
from edgemm_fleet.director.director import Director
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import (
    Migration,
    Store,
    actions,
    assignments,
    audit,
    desired,
    devices,
    enrolment_tokens,
    models,
    person_tokens,
    reported,
    rollouts,
    shadows,
    streams,
)
from edgemm_fleet.store.revisions import NEWEST
from edgemm_fleet.store.schema import blobs, version_blobs
from simulators.broker import FLEET, MODEL, START
from simulators.full_disk import fill
from tests.disks import small_disk
from tests.golden.databases import shapes
from tests.unit.fleet.store.golden_databases import NAMES, OLDER, contents, copies, golden, rows

MIB = 1024 * 1024
pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("name", OLDER)
def test_every_row_of_an_older_database_is_there_afterwards(tmp_path: Path, name: str) -> None:
    path = golden(tmp_path, name)
    before = rows(path)
    assert [table for table, found in before.items() if not found] == _empty(name)
    Store.open(path).close()
    after = rows(path)
    before.pop("alembic_version", None)
    notes, kept_notes = ({row["key"]: row["value"] for row in found.pop("meta")} for found in (before, after))
    assert notes.pop("schema_version") == ("1" if name < "0006" else "2")
    assert notes.items() <= kept_notes.items()
    for table, found in before.items():
        kept = [{column: row[column] for column in found[0]} for row in after[table]] if found else after[table]
        assert kept == found, table


def _empty(name: str) -> list[str]:
    """Return the tables without a row: those of before there were shadows, and of windows since they have parts."""
    return ["shadows"] if name == "0001-with-shadows" else ["telemetry"] if name >= "0020" else []


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_it_is_read_as_it_was_meant(tmp_path: Path, name: str) -> None:
    store = Store.open(golden(tmp_path, name))
    with store.read() as tx:
        assert [device.id for device in devices.page(tx).items] == ["cam-1", "cam-2"]
        assert devices.find(tx, "cam-3") is None, "it was removed"
        newest, first = rollouts.page(tx).items
        assert [(r.state, r.plan.version) for r in (newest, first)] == [("halted", "2.0.0"), ("finished", "1.0.0")]
        assert newest.trouble == ("the store is full" if name >= "0004" else None)
        members = {member.device: member for member in rollouts.members_of(tx, newest.id)}
        assert {device: member.state for device, member in members.items()} == {
            "cam-1": "activating",
            "cam-2": "committed",
            "cam-3": "failed",
        }
        words = "sample 0 is 0.3 from what it should be" if name >= "0002" else None
        assert (members["cam-3"].reason, members["cam-3"].detail) == ("errors", words)
        assert {a.action.id: a.ok for a in actions.recent(tx, "cam-2", limit=9)} == {"a-0": True, "a-1": True}
        assert [a.action.id for a in actions.waiting(tx, ["cam-1"])["cam-1"] if a.done_at is None] == ["a-2"]
        assert assignments.of(tx, ["cam-2"])["cam-2"][MODEL].version == "2.0.0"
        wanted = desired.find(tx, "cam-2")
        assert wanted is not None
        assert wanted.desired.models[0].version == "2.0.0"
        report = reported.find(tx, "cam-2")
        assert report is not None
        assert report.reported.models[0].active_version == "2.0.0"
        assert len(streams.page_events(tx, "cam-2").items) == 14
        assert [w.telemetry.sequence for w in streams.page_telemetry(tx, "cam-2").items] == [2]
        first_boot = report.reported.boot
        of_windows = streams.StreamKey("cam-2", first_boot, Stream.TELEMETRY)
        assert streams.positions_of(tx, [of_windows]) == {of_windows: (0, 2, 2 if name >= "0020" else 0)}, "the gap"
        assert models.get_version(tx, MODEL, "4.0.0").version == "4.0.0"
        found = tx.execute(
            select(blobs.c.digest, blobs.c.size_bytes).join(version_blobs).where(version_blobs.c.version == "4.0.0")
        )
        assert [tuple(row) for row in found] == [("b" * 64, 1234)]
        assert [token.revoked_at for token in person_tokens.page(tx).items] == [None, START + 5]
        assert [token.uses for token in enrolment_tokens.page(tx).items] == [0, 1]
        assert len(audit.page(tx).items) == 4
        asked = {device: found[MODEL].version for device, found in shadows.of(tx, ["cam-1", "cam-2"]).items()}
        assert asked == ({"cam-1": "3.0.0", "cam-2": "3.0.0"} if name >= "0005" else {})
    store.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_manager_goes_on_where_the_one_before_stopped(tmp_path: Path, name: str) -> None:
    store = Store.open(golden(tmp_path, name))
    runner = Runner(Director(FLEET, CryptoSigner.generate_ed25519()))
    runner.tick(store, now=START + 1e6)
    with store.write() as tx:
        newest = rollouts.page(tx).items[0]
        members = {member.device: member.state for member in rollouts.members_of(tx, newest.id)}
        assert members["cam-1"] == "failed", "what it waited for did not come in time"
        rollouts.note_trouble(tx, newest.id, "disk full")
        assert rollouts.get(tx, newest.id).trouble == "disk full"
    store.close()


def test_it_tells_from_where_to_where_and_which_copy(tmp_path: Path) -> None:
    path = golden(tmp_path, "0003")
    path.chmod(0o600)
    before = rows(path)
    told: list[Migration] = []
    Store.open(path, migrated=told.append).close()
    (copy,) = copies(path)
    assert told == [Migration("0003", NEWEST, copy)]
    assert rows(copy) == before
    assert copy.name.startswith("fleet-0003-2")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600, "it holds the same secrets' hashes"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([copy.name, "fleet.db"])
    Store.open(path, migrated=told.append).close()
    assert len(told) == len(copies(path)) == 1, "there is nothing more to do"


def test_the_copy_is_the_way_back(tmp_path: Path) -> None:
    path = golden(tmp_path, "0002")
    before = rows(path)
    Store.open(path).close()
    (copy,) = copies(path)
    copy.rename(path)
    assert rows(path) == before
    Store.open(path).close()
    assert len(copies(path)) == 1, "and again forwards"


def test_a_new_database_takes_no_copy(tmp_path: Path) -> None:
    Store.open(tmp_path / "fleet.db", migrated=lambda migration: pytest.fail(str(migration))).close()
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.db"]


def _crashed(folder: Path, name: str, *, statements: tuple[str, ...]) -> Path:
    """Leave a database as a process does that is killed: with a log of changes that is not folded into the file."""
    (folder / "living").mkdir()
    living = golden(folder / "living", name)
    with closing(sqlite3.connect(living, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA cache_size = 1")  # what is not committed goes to the log as well
        for statement in statements:
            database.execute(statement)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{living}{suffix}", folder / f"fleet.db{suffix}")
    return folder / "fleet.db"


def test_what_is_only_in_the_log_is_migrated_and_copied_and_what_was_not_committed_is_not(tmp_path: Path) -> None:
    many = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
    path = _crashed(
        tmp_path,
        "0001",
        statements=(
            "INSERT INTO audit (at, actor, action, subject, detail) VALUES (1, 'ann', 'kept', 'x', '')",
            "BEGIN",
            many + "INSERT INTO audit (at, actor, action, subject, detail) SELECT 2, 'ann', 'lost', i, 'y' FROM n",
        ),
    )
    assert path.with_name("fleet.db-wal").stat().st_size > 40_000, "what was not committed is in the log"
    Store.open(path).close()
    for found in (rows(path), rows(copies(path)[0])):
        assert [row["action"] for row in found["audit"]][4:] == ["kept"]


@pytest.mark.parametrize("statements", [(), ("UPDATE models SET minimum_version = '2.0.0'",)], ids=["closed", "killed"])
def test_a_database_of_a_later_edgemm_is_left_byte_for_byte(tmp_path: Path, statements: tuple[str, ...]) -> None:
    later = "UPDATE alembic_version SET version_num = '0099'"
    if statements:
        path = _crashed(tmp_path, NEWEST, statements=(later, *statements))
        shutil.rmtree(tmp_path / "living")
    else:
        path = golden(tmp_path, NEWEST)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(later)
            database.commit()
    before = contents(tmp_path)
    with pytest.raises(
        NewerFormatError, match=rf"fleet database schema 0099 is newer than {NEWEST}, .*: upgrade edgemm"
    ):
        Store.open(path)
    assert contents(tmp_path) == before


def test_a_link_to_a_database_is_as_good_as_the_database(tmp_path: Path) -> None:
    later = "UPDATE alembic_version SET version_num = '0099'"  # which only the log beside the file itself says
    path = _crashed(tmp_path, NEWEST, statements=(later,))
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "fleet.db"
    link.symlink_to(path)
    with pytest.raises(NewerFormatError, match="schema 0099 is newer"):
        Store.open(link)
    shutil.copyfile(shapes.FOLDER / "0002.db", path)
    path.with_name("fleet.db-wal").unlink()
    path.with_name("fleet.db-shm").unlink(missing_ok=True)
    Store.open(link).close()
    assert link.is_symlink()
    assert rows(path)["alembic_version"] == [{"version_num": NEWEST}]
    assert len(copies(link)) == 1


def test_a_database_that_was_killed_with_a_journal_is_migrated_as_it_was_before_that(tmp_path: Path) -> None:
    (tmp_path / "living").mkdir()
    living = golden(tmp_path / "living", "0003")
    with closing(sqlite3.connect(living, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size = 1")  # what is not committed is in the file already
        database.execute("BEGIN")
        database.execute("UPDATE events SET received_at = 0")
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{living}{suffix}", tmp_path / f"fleet.db{suffix}")
    assert (tmp_path / "fleet.db").read_bytes() != (shapes.FOLDER / "0003.db").read_bytes()
    Store.open(tmp_path / "fleet.db").close()
    before = rows(shapes.FOLDER / "0003.db")
    assert rows(tmp_path / "fleet.db")["events"] == before["events"]
    assert rows(copies(tmp_path / "fleet.db")[0]) == before


def test_a_database_of_somebody_else_is_left_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"fleet\.db: expected a database that edgemm wrote, found no table actions"):
        Store.open(path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("size_kib", [200, 1024], ids=["no room for the copy", "little room"])
def test_a_full_disk_leaves_the_old_database_and_says_how_much_room_it_needs(tmp_path: Path, size_kib: int) -> None:
    with small_disk(tmp_path / "disk", size_bytes=size_kib * 1024) as disk:
        path = golden(disk, "0001")
        before = rows(path)
        fill(disk)
        told = r"cannot copy .*fleet\.db before it is migrated: .*; nothing was changed: make room for [\d,]+ bytes on"
        with pytest.raises(EnvironmentFailure, match=rf"{told}|database or disk is full|disk I/O error"):
            Store.open(path)
        (disk / "filler").unlink()
        assert rows(path) == before
        assert copies(path) == []
        assert not list(disk.glob(".edgemm-tmp-*"))


@pytest.mark.parametrize("room_kib", range(0, 640, 64))
def test_however_little_room_there_is_it_is_the_old_database_or_the_new_one(tmp_path: Path, room_kib: int) -> None:
    with small_disk(tmp_path / "disk", size_bytes=MIB) as disk:
        path = golden(disk, "0001")
        before = rows(path)
        fill(disk)
        os.truncate(disk / "filler", max(0, (disk / "filler").stat().st_size - room_kib * 1024))
        try:
            Store.open(path).close()
        except EnvironmentFailure:
            (disk / "filler").unlink()
            assert rows(path) == before
            assert copies(path) == []
            Store.open(path).close()
        assert rows(path)["alembic_version"] == [{"version_num": NEWEST}]
        assert [row["id"] for row in rows(path)["events"]] == [row["id"] for row in before["events"]]


@pytest.mark.parametrize("name", ["0001", NEWEST])
def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with small_disk(tmp_path / "disk", size_bytes=MIB) as disk:
        path = golden(disk, name)
        before = contents(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(EnvironmentFailure, match=r"fleet database .*fleet\.db: .*(readonly|unable to open)"):
            Store.open(path)
        assert contents(disk) == before


def test_a_damaged_database_is_not_migrated(tmp_path: Path) -> None:
    path = golden(tmp_path, "0001")
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'telemetry'").fetchone()
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * page_bytes : root * page_bytes] = b"\xff" * page_bytes
    path.write_bytes(data)
    with pytest.raises(EnvironmentFailure, match=r"cannot copy .* before it is migrated: it is damaged"):
        Store.open(path)
    assert copies(path) == []
    assert not list(tmp_path.glob(".edgemm-tmp-*"))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT value FROM meta").fetchone() == ("1",)


def test_what_a_killed_process_left_of_a_copy_is_removed(tmp_path: Path) -> None:
    path = golden(tmp_path, "0004")
    (tmp_path / ".edgemm-tmp-copy-0011").write_bytes(b"half of it")
    (tmp_path / ".edgemm-tmp-copy-0011-journal").write_bytes(b"")
    Store.open(path).close()
    assert not list(tmp_path.glob(".edgemm-tmp-*"))


def test_a_copy_never_takes_the_place_of_another(tmp_path: Path) -> None:
    path = golden(tmp_path, "0005")
    for _ in range(3):
        Store.open(path).close()
        golden(tmp_path, "0005")
    assert len(copies(path)) == 3


def test_a_migration_that_goes_wrong_leaves_the_old_database(tmp_path: Path) -> None:
    path = golden(tmp_path, "0001")
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE _alembic_tmp_devices (id TEXT)")  # in the way of the third step
    before = rows(path)
    with pytest.raises(
        EnvironmentFailure, match=r"fleet database .*_alembic_tmp_devices already exists; nothing of this"
    ):
        Store.open(path)
    assert rows(path) == before
    assert copies(path) == []


def test_the_path_may_have_any_characters(tmp_path: Path) -> None:
    folder = tmp_path / "100% #1 ?mode=rw & günstig"
    folder.mkdir()
    path = golden(folder, "0001")
    Store.open(path).close()
    Store.open(path).close()
    assert rows(path)["alembic_version"] == [{"version_num": NEWEST}]


def test_what_a_halt_left_to_devices_that_turned_back_is_taken_back_after_the_migration(tmp_path: Path) -> None:
    path = golden(tmp_path, "0018")
    with closing(sqlite3.connect(path)) as database, database:
        (turned,), (other,) = database.execute("SELECT DISTINCT rollout FROM members ORDER BY rollout LIMIT 2")
        database.execute("UPDATE rollouts SET state = 'halted'")
        database.execute("UPDATE members SET state = 'reached', deadline_at = 1.0 WHERE rollout = ?", (turned,))
        database.execute("UPDATE members SET state = 'activating' WHERE rollout = ?", (other,))
    store = Store.open(path)
    with store.read() as tx:
        assert rollouts.states_taking_back(tx) == {turned: RolloutState.HALTED}
    store.close()
