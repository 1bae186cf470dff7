"""The move of a whole fleet between SQLite and PostgreSQL."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure, InputError
from edgemm_fleet.store import Store, actions, audit, devices, notes, streams
from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress
from edgemm_fleet.store.revisions import NEWEST
from edgemm_fleet.store.transfer import Moved, move_fleet
from simulators.postgresql import Cluster, execute
from tests.conftest import installed_postgresql
from tests.unit.fleet.store.golden_databases import Rows, golden, rows

pytestmark = [pytest.mark.service, pytest.mark.sqlite]
MOVE = """
import os, signal, sys
from pathlib import Path
from edgemm_fleet.store import transfer
from edgemm_fleet.store.dialects.database_address import PostgresAddress

name, number = sys.argv[3], int(sys.argv[4])
real = getattr(transfer, name)
seen = 0
def cut(*arguments, **named):
    global seen
    seen += 1
    if seen == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)
setattr(transfer, name, cut)
ends = [PostgresAddress(one) if "://" in one else Path(one) for one in sys.argv[1:3]]
transfer.move_fleet(*ends, told=lambda *_: None)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    installed_postgresql()
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Cluster, request: pytest.FixtureRequest) -> PostgresAddress:
    return cluster.create(f"x{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with something in every table."""
    return golden(tmp_path, NEWEST)


def move(source: DatabaseAddress, target: DatabaseAddress) -> Moved:
    return move_fleet(source, target, told=lambda *_: None)


def facts(path: Path) -> Rows:
    """Return all rows but what a database says of itself, in the order of insertion where that matters."""
    found = {name: of if name in {"actions", "positions"} else sorted(of, key=repr) for name, of in rows(path).items()}
    found["meta"] = [row for row in found["meta"] if row["key"] != "schema_version"]
    return {table: found[table] for table in sorted(found)}


def test_everything_is_there_and_back_again(path: Path, address: PostgresAddress, tmp_path: Path) -> None:
    before = facts(path)
    there = move(path, address)
    assert there.rows == {table: len(found) for table, found in before.items() if table != "alembic_version"}
    assert [table for table, count in there.rows.items() if not count] == ["telemetry"], "the others have something"
    store = Store.open(address)
    with store.read() as tx:
        assert [device.id for device in devices.page(tx).items] == ["cam-1", "cam-2"]
        assert [one.action.id for one in actions.page(tx, "cam-2").items] == ["a-1", "a-0"], "in the order of before"
    store.close()
    back = move(address, tmp_path / "back.db")
    assert back == there
    assert facts(tmp_path / "back.db") == before


def test_what_is_added_there_is_numbered_behind_what_was_there(path: Path, address: PostgresAddress) -> None:
    move(path, address)
    store = Store.open(address)
    with store.write() as tx:
        last = audit.page(tx).items[0].id
        audit.add(tx, at=1.0, actor="a", action="new", subject="x")
        assert [audit.page(tx).items[0].action, audit.page(tx).items[0].id] == ["new", last + 1]
        newest = streams.page_events(tx, "cam-2").items[0]
        assert newest.id > 0
    store.close()


def test_a_temperature_that_is_no_number_moves_as_none(path: Path, address: PostgresAddress, tmp_path: Path) -> None:
    move(path, address)
    execute(address, "UPDATE health_1 SET temperature_c = 'NaN'")
    move(address, tmp_path / "back.db")
    with closing(sqlite3.connect(tmp_path / "back.db")) as database:
        assert set(database.execute("SELECT temperature_c FROM health_1")) == {(None,)}


def test_only_one_of_them_is_in_use_afterwards(path: Path, address: PostgresAddress) -> None:
    move(path, address)
    with pytest.raises(InputError, match=r"fleet\.db: its fleet moved to postgresql://.* and goes on there"):
        Store.open(path)
    with pytest.raises(InputError, match="its fleet moved to"):
        Store.join(path)
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    assert not version.isdecimal(), "an edgemm of before refuses it, too"
    assert move(path, address) == Moved({}, ""), "the same again changes nothing"
    with pytest.raises(InputError, match="its fleet moved to"):
        move(path, path.with_name("other.db"))
    with pytest.raises(InputError, match=r"fleet\.db: expected an empty database, found a fleet that moved away"):
        move(address, path)


def test_a_target_with_something_in_it_is_refused(path: Path, address: PostgresAddress) -> None:
    store = Store.open(address)
    with store.write() as tx:
        notes.put(tx, "a", "b")
    store.close()
    before = facts(path)
    with pytest.raises(InputError, match=r"postgresql://.*: expected an empty database, found 2 rows in table meta"):
        move(path, address)
    execute(address, "DELETE FROM meta WHERE key = 'a'")
    assert facts(path) == before
    assert move(path, address).rows["devices"] == 3
    with pytest.raises(InputError, match="found the same one twice"):
        move(path, path)


def test_nothing_is_moved_from_nowhere(tmp_path: Path, address: PostgresAddress) -> None:
    with pytest.raises(InputError, match=r"lost\.db: expected a fleet in it, found no table"):
        move(tmp_path / "lost.db", address)
    assert not (tmp_path / "lost.db").exists()
    with pytest.raises(InputError, match="no fleet, or one of an earlier edgemm"):
        move(golden(tmp_path, "0005"), address)


def test_a_manager_on_either_refuses_the_move(path: Path, address: PostgresAddress, tmp_path: Path) -> None:
    manager = Store.open(address, alone=True)
    for ends in ((path, address), (address, tmp_path / "other.db")):
        with pytest.raises(EnvironmentFailure, match="another fleet manager uses it; stop that one first"):
            move(*ends)
    manager.close()


def test_what_postgresql_does_not_take_is_named(path: Path, address: PostgresAddress) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE audit SET detail = 'a' || char(0) || 'b' WHERE id = 1")
        database.execute("UPDATE devices SET boot_count = 'many' WHERE id = 'cam-2'")
        database.commit()
    told = r"table devices, row cam-2: column boot_count has 'many', which is not of its type; nothing was changed"
    with pytest.raises(EnvironmentFailure, match=told):
        move(path, address)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE devices SET boot_count = 1 WHERE id = 'cam-2'")
        database.commit()
    move(path, address)
    assert execute(address, "SELECT detail FROM audit WHERE id = 1") == [("a\N{SYMBOL FOR NULL}b",)]


@pytest.mark.parametrize(
    ("where", "number"), [("_count", 10), ("_add", 3), ("_read_back", 5), ("_count_on", 19), ("_mark", 2), ("_mark", 3)]
)
@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
def test_killed_anywhere_the_same_move_ends_it(
    path: Path, address: PostgresAddress, tmp_path: Path, where: str, number: int, *, back: bool
) -> None:
    before = facts(path)
    ends: tuple[DatabaseAddress, DatabaseAddress] = (path, address)
    if back:
        move(path, address)
        ends = (address, tmp_path / "back.db")
    command = [sys.executable, "-c", MOVE, *map(str, ends), where, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    usable = 0
    for end in ends:
        try:
            Store.join(end).close()
            usable += 1
        except (EnvironmentFailure, InputError):
            pass
    assert usable <= 1, "never are both in use"
    move(*ends)
    last = ends[1]
    if isinstance(last, PostgresAddress):
        last = tmp_path / "looked.db"
        move(ends[1], last)
    assert facts(last) == before
