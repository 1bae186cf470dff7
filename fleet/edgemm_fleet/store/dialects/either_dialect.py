"""Ways to a database of either kind: to read it, to write it, to look into it, and what went wrong there.

Each takes a `DatabaseAddress`, and does what the module of its kind does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine

from edgemm_fleet.store.dialects import postgresql, sqlite
from edgemm_fleet.store.dialects.checkpoints import Checkpoints
from edgemm_fleet.store.dialects.database_address import DatabaseAddress


def engines(address: DatabaseAddress, *, alone: bool = False) -> tuple[Engine, Engine]:
    """Return the engine of those who read, and that of the one who writes; of SQLite they are the same.

    `alone`: no second manager gets to PostgreSQL's while this one lives. SQLite's is kept by the fleet folder's lock.
    """
    if isinstance(address, Path):
        engine = sqlite.writable(address)
        return engine, engine
    return postgresql.readers(address), postgresql.writers(address, alone=alone)


def after_write(
    address: DatabaseAddress, engine: Engine, *, turn: AbstractContextManager[object]
) -> Callable[[], None]:
    """Return what is to be called after each write, outside of it; `turn` is that of those who write here."""
    if not isinstance(address, Path):
        return lambda: None  # its server does it
    return Checkpoints(sqlite.beside(address, "-wal"), engine, turn=turn).after_write


def migrating(address: DatabaseAddress) -> Engine:
    """Return an engine whose transactions may make, change and replace tables."""
    if isinstance(address, Path):
        return sqlite.writable(address, foreign_keys=False)
    return postgresql.migrating(address)


def looking(address: DatabaseAddress) -> AbstractContextManager[Connection]:
    """Open a database to look into it; it does not become another."""
    return sqlite.looking(address) if isinstance(address, Path) else postgresql.looking(address)


def described(address: DatabaseAddress) -> AbstractContextManager[None]:
    """Turn what a database says into one line, an `EnvironmentFailure`."""
    return sqlite.described(address) if isinstance(address, Path) else postgresql.described(address)


def size_bytes(tx: Connection, address: DatabaseAddress) -> int | None:
    """Return how large a database is, with SQLite's log of changes; None where that cannot be told."""
    if not isinstance(address, Path):
        return int(tx.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
    try:
        return sum(path.stat().st_size for path in (address, sqlite.beside(address, "-wal")) if path.exists())
    except OSError:
        return None
