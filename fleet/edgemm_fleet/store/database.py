"""The database file of the store: opened once, read by many threads, written by one at a time.

    store = Store.open(folder / "fleet.db")
    with store.write() as tx:
        devices.add(tx, …)

SQLite in WAL mode with `synchronous=FULL`: when a write block ends, its content survives a loss of power, so an
acknowledgement may be sent. (WAL's usual NORMAL could lose the last transactions.) A write block is a
`BEGIN IMMEDIATE` transaction behind a lock; an exception in it undoes all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.exc import DatabaseError

from edgemm.errors import EnvironmentFailure, NewerFormatError
from edgemm_fleet.store import schema

Transaction = Connection
"""What every store function takes first: an open transaction of `Store.read` or `Store.write`."""

_BUSY_TIMEOUT_MS = 10_000


class Store:
    """The fleet manager's database."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._writer = threading.Lock()
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the database, making it when it is missing.

        Raises:
            EnvironmentFailure: the folder is missing or not writable, the disk is full, or it is no database.
            NewerFormatError: it was written by a later edgemm.
        """
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        store = cls(engine, path)
        try:
            with store.write() as tx:
                schema.metadata.create_all(tx)
                _check_version(tx, path)
        except BaseException:
            engine.dispose()
            raise
        return store

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that sees one state of the database and writes nothing."""
        with self._described(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open the one writing transaction; durable when the block ends, undone if it raises.

        Raises:
            EnvironmentFailure: the disk is full or the file cannot be written; nothing was changed.
        """
        with self._described(), self._writer, self._engine.connect() as connection:
            writing = connection.execution_options(edgemm_write=True)
            with writing.begin():
                yield writing

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _described(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as err:
            cause = str(err.orig or err)
            raise EnvironmentFailure(f"fleet database {self.path}: {cause}; nothing of this step was kept") from err


def _prepare(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    connection.isolation_level = None  # transactions begin where `_begin` says, not where sqlite3 guesses
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("edgemm_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _check_version(tx: Transaction, path: Path) -> None:
    key = "schema_version"
    found = tx.execute(select(schema.meta.c.value).where(schema.meta.c.key == key)).scalar()
    if found is None:
        tx.execute(insert(schema.meta).values(key=key, value=str(schema.SCHEMA_VERSION)))
    elif int(found) > schema.SCHEMA_VERSION:
        raise NewerFormatError(
            str(path), what="fleet database schema", found=found, supported=str(schema.SCHEMA_VERSION)
        )


def count(tx: Transaction, table: Any) -> int:
    """Return how many rows a table has."""
    return int(tx.execute(select(func.count()).select_from(table)).scalar_one())
