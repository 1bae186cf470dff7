"""The tables of today, the migrations that lead to them, and what is kept of each shape that ever landed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from edgemm_fleet.store import Store, migrations, schema
from edgemm_fleet.store.dialects.sqlite import WRITING, writable
from edgemm_fleet.store.migration import upgrade
from edgemm_fleet.store.revisions import NEWEST, REVISIONS
from tests.golden.databases import shapes
from tests.unit.fleet.store.golden_databases import NAMES

pytestmark = pytest.mark.sqlite
HOW = "write a migration, name it in REVISIONS and keep a database of it; see tests/golden/databases/README.md"


def migrated(path: Path, *, to: str) -> Path:
    engine = writable(path, foreign_keys=False)
    with engine.connect() as connection, connection.execution_options(**WRITING).begin():
        upgrade(connection, old="base", to=to)
    engine.dispose()
    return path


def shape(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return shapes.describe(database)


def fingerprint(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return shapes.fingerprint(database)


def test_the_migrations_lead_to_the_tables_in_the_code(tmp_path: Path) -> None:
    engine = writable(migrated(tmp_path / "fleet.db", to=NEWEST))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == [], HOW
    engine.dispose()


def test_a_new_database_has_the_shape_of_a_migrated_one(tmp_path: Path) -> None:
    Store.open(tmp_path / "new.db").close()
    assert shape(tmp_path / "new.db") == shape(migrated(tmp_path / "fleet.db", to=NEWEST))


def test_the_tables_do_not_change_without_a_revision(tmp_path: Path) -> None:
    Store.open(tmp_path / "new.db").close()
    assert fingerprint(tmp_path / "new.db") == shapes.recorded()[NEWEST]["tables"], HOW


@pytest.mark.parametrize(("column", "kind"), shapes.DOCUMENTS.items())
def test_the_managers_own_documents_do_not_change_without_a_revision(column: str, kind: Any) -> None:
    assert shapes.fingerprint_of(kind) == shapes.recorded()[NEWEST][column], HOW


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_revision_is_made_as_it_landed(tmp_path: Path, revision: str) -> None:
    assert fingerprint(migrated(tmp_path / "fleet.db", to=revision)) == shapes.recorded()[revision]["tables"]
    assert fingerprint(shapes.FOLDER / f"{revision}.db") == shapes.recorded()[revision]["tables"]


def test_each_revision_has_a_database_and_a_fingerprint_and_stands_in_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    assert [found.revision for found in script.walk_revisions()] == list(reversed(REVISIONS))
    assert list(shapes.recorded()) == list(REVISIONS)
    assert {name[:4] for name in NAMES} == set(REVISIONS)


def test_an_edgemm_without_a_history_refuses_a_new_database(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "new.db")
    with store.read() as tx:
        value = tx.execute(text("SELECT value FROM meta WHERE key = 'schema_version'")).scalar_one()
    store.close()
    assert int(value) > 1, "which is what it compares"
