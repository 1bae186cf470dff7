"""`edgemm fleet serve` on the database of an earlier edgemm, and of a later one."""

import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from edgemm_fleet.store.migration import upgrade
from edgemm_fleet.store.revisions import NEWEST
from tests.unit.fleet.commands.fleets import EDGEMM, Served, init

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]
EARLIER = "0003"


def change(fleet: Served, *statements: str) -> None:
    with closing(sqlite3.connect(fleet.folder / "fleet.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def make_earlier(fleet: Served) -> None:
    """Have the fleet's database be as an earlier edgemm would have it: its tables, with the rows of today's."""
    path, today = fleet.folder / "fleet.db", fleet.folder / "today.db"
    path.rename(today)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, old="base", to=EARLIER)
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        database.execute("ATTACH ? AS today", [str(today)])
        tables = [name for (name,) in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")]
        for table in (name for name in tables if name != "alembic_version" and "sqlite_" not in name):
            columns = [
                {row[1] for row in database.execute(f'PRAGMA {schema}.table_info("{table}")')}
                for schema in ("main", "today")
            ]
            both = ", ".join(f'"{column}"' for column in sorted(columns[0] & columns[1]))
            database.execute(f'INSERT INTO main."{table}" ({both}) SELECT {both} FROM today."{table}"')
        database.execute("UPDATE meta SET value = '1'")
        database.execute("DROP TABLE alembic_version")  # which came later
        database.commit()
    today.unlink()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Served]:
    fleet = init(tmp_path / "fleet", scheme="http")
    yield fleet
    if fleet.process is not None:
        fleet.stop(signal.SIGKILL)


def test_serve_migrates_says_so_once_and_serves_what_was_there(fleet: Served) -> None:
    make_earlier(fleet)
    fleet.start()
    (copy,) = fleet.folder.glob("fleet-*.db")
    assert fleet.said[0] == f"database migrated from {EARLIER} to {NEWEST}; a copy of before is {copy}"
    fleet.admin.run("login", fleet.url, "--token", fleet.token)
    assert fleet.admin.json("audit")[0]["action"] == "people.add", "of before the migration"
    fleet.stop(signal.SIGTERM)
    fleet.start()
    assert not any("migrated" in line for line in fleet.said)


def test_the_copy_of_before_is_put_back_as_the_page_for_operators_says(fleet: Served) -> None:
    make_earlier(fleet)
    fleet.start()
    fleet.stop(signal.SIGTERM)
    (copy,) = fleet.folder.glob("fleet-*.db")
    back = 'rm -f fleet.db fleet.db-wal fleet.db-shm && cp "$1" fleet.db'
    subprocess.run(["sh", "-c", back, "sh", str(copy)], cwd=fleet.folder, check=True)
    with closing(sqlite3.connect(fleet.folder / "fleet.db")) as database:
        assert database.execute("SELECT value FROM meta").fetchall() == [("1",)]


def test_serve_refuses_the_database_of_a_later_edgemm_in_one_line(fleet: Served) -> None:
    change(fleet, "UPDATE alembic_version SET version_num = '0099'")
    before = (fleet.folder / "fleet.db").read_bytes()
    command = [*EDGEMM, "fleet", "serve", str(fleet.folder), "--broker", "embedded:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith(
        f"fleet.db: fleet database schema 0099 is newer than {NEWEST}, which this edgemm reads: upgrade edgemm"
    )
    assert (fleet.folder / "fleet.db").read_bytes() == before
