"""The way of a database to today's tables: made when it is missing, migrated when it is older, refused when newer.

    migration = bring_up_to_date(path)      # what was done, None where nothing had to be

A migration is one transaction, from the look that decides it to the check of what came out: a process that is killed in
the middle leaves the database as it was, and of two that start at once one migrates while the other waits. Before it,
SQLite's file is copied (`dialects/copies.py`); of PostgreSQL, copies are its own tools' work.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.store import schema
from edgemm_fleet.store.dialects import postgresql
from edgemm_fleet.store.dialects.copies import copied
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from edgemm_fleet.store.dialects.either_dialect import described, looking, migrating
from edgemm_fleet.store.dialects.portable import ROWID
from edgemm_fleet.store.dialects.sqlite import WRITING, beside
from edgemm_fleet.store.revisions import META_VERSION, NEWEST, VERSION_TABLE, Inventory, revision_of

_log = logging.getLogger(__name__)
_version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""Alembic's own table, as it makes it."""


@dataclass(frozen=True)
class Migration:
    """What was done to a database: from which revision to which, and SQLite's file as it was before."""

    old: str
    new: str
    copy: Path | None


def bring_up_to_date(path: DatabaseAddress) -> Migration | None:
    """Make or migrate the database at `path`; one that is of today's tables, or refused, is only looked at.

    Raises:
        NewerFormatError: a later edgemm wrote it.
        InputError: edgemm never wrote such a database.
        EnvironmentFailure: the disk is full, the folder cannot be written, or the database is damaged or in use;
            it is as it was.
    """
    if is_up_to_date(path):
        return None
    with described(path):
        engine = migrating(path)
        try:
            with engine.connect() as connection:
                return _migrate(connection.execution_options(**WRITING), path)
        finally:
            engine.dispose()


def is_up_to_date(path: DatabaseAddress) -> bool:
    """Tell whether the database at `path` is of today's tables; it is only looked at.

    Raises:
        As `bring_up_to_date`, where it is refused.
    """
    with described(path):
        if isinstance(path, Path) and (not path.exists() or _recovers(path)):
            return False
        with looking(path) as connection:
            return revision_of(take_inventory(connection), str(path)) == NEWEST


def take_inventory(connection: Connection) -> Inventory:
    """Return what a database holds, as far as its revision shows in it."""
    found = inspect(connection)
    tables = found.get_table_names()
    recorded = tuple(connection.execute(select(_version)).scalars()) if VERSION_TABLE in tables else None
    looked_at = ["meta"] if recorded is not None and "meta" in tables else tables
    columns = {name: {c["name"]: str(c["type"]).upper() for c in found.get_columns(name)} for name in looked_at}
    meta = schema.meta.c
    version = (
        connection.execute(select(meta.value).where(meta.key == "schema_version")).scalar()
        if {"key", "value"} <= set(columns.get("meta", {}))
        else None
    )
    return Inventory(columns=columns, recorded=recorded, meta_version=version)


def upgrade(connection: Connection, *, old: str, to: str = NEWEST) -> None:
    """Run the migrations from one revision to another in the transaction that is open; `base` is no table at all."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.stamp(config, old)
    command.upgrade(config, to)


def _recovers(path: Path) -> bool:
    """Tell whether SQLite must first undo what a killed process began, which no look does."""
    return beside(path, "-journal").exists()


def _migrate(connection: Connection, path: DatabaseAddress) -> Migration | None:
    with connection.begin(), ExitStack() as stack:  # nobody else writes from here on
        if not isinstance(path, Path):
            postgresql.without_time_limit(connection)
        old = revision_of(take_inventory(connection), str(path))
        if old == NEWEST:
            return None
        if old is None:
            create(connection)
            return None
        copy = stack.enter_context(copied(path, revision=old)) if isinstance(path, Path) else None
        _log.info("database migrates file=%s from=%s to=%s", path, old, NEWEST)
        dangling = _dangling(connection)
        upgrade(connection, old=old)
        _check(connection, path, dangling=dangling)
        if copy is not None:
            copy.keep()
    return Migration(old, NEWEST, None if copy is None else copy.path)


def create(connection: Connection) -> None:
    """Make today's tables in the transaction that is open."""
    schema.metadata.create_all(connection)
    connection.execute(insert(schema.meta).values(key="schema_version", value=META_VERSION))
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=NEWEST))


def _check(connection: Connection, path: DatabaseAddress, *, dangling: int) -> None:
    """Look at what came out before it is kept."""
    found = inspect(connection)
    for table in schema.metadata.sorted_tables:
        expected = {column.name for column in table.columns}
        columns: list[Any] = found.get_columns(table.name) if found.has_table(table.name) else []
        if expected != (there := {column["name"] for column in columns} - {ROWID}):
            raise EnvironmentFailure(
                f"fleet database {path}: after the migration table {table.name} should have the columns "
                f"{', '.join(sorted(expected))}, found {', '.join(sorted(there)) or 'none'}; nothing was changed: "
                "go on with the edgemm of before, and report this"
            )
    if _dangling(connection) > dangling:
        raise EnvironmentFailure(
            f"fleet database {path}: after the migration rows would refer to others that are not there; nothing was "
            "changed: go on with the edgemm of before, and report this"
        )


def _dangling(connection: Connection) -> int:
    """Return how many rows refer to others that are not there."""
    if connection.dialect.name != "sqlite":
        return 0  # whose foreign keys hold all the while
    return len(connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall())
