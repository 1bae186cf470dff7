"""The database of the store: opened once, read by many threads, written by one at a time.

    store = Store.open(folder / "fleet.db")
    with store.write() as tx:
        devices.add(tx, …)

SQLite in WAL mode with `synchronous=FULL`: when a write block ends, its content survives a loss of power, so an
acknowledgement may be sent. (WAL's usual NORMAL could lose the last transactions.) A write block is a
`BEGIN IMMEDIATE` transaction behind a lock; an exception in it undoes all of it. PostgreSQL's are the same by its own
means (`dialects/postgresql.py`). Opening a database of an earlier edgemm migrates it first (`store/migration.py`),
after a copy of SQLite's file was taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, func, select

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.store.activity.census import Census
from edgemm_fleet.store.activity.write_times import WriteTimes
from edgemm_fleet.store.availability import Availability
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from edgemm_fleet.store.dialects.either_dialect import after_write, described, engines
from edgemm_fleet.store.dialects.sqlite import WRITING, FilePlace
from edgemm_fleet.store.migration import Migration, bring_up_to_date, is_up_to_date
from edgemm_fleet.store.quarantine import Quarantine
from edgemm_fleet.store.schema import devices

_log = logging.getLogger(__name__)

_AFTER = "edgemm_after_commit"
Transaction = Connection
"""What every store function takes first: an open transaction of `Store.read` or `Store.write`."""


class Store:
    """The fleet manager's database."""

    def __init__(self, readers: Engine, writers: Engine, path: DatabaseAddress) -> None:
        self.quarantine = Quarantine()
        """What could not be read so far."""
        self.census = Census()
        """How many devices there are."""
        self.write_times = WriteTimes()
        options = {**self.quarantine.options(), **self.census.options()}
        self._readers, self._writers = readers.execution_options(**options), writers.execution_options(**options)
        self.reading, self.writing = (Availability(str(path), kind) for kind in ("read", "write"))
        """Whether transactions of each kind work at present."""
        self._writer = threading.Lock()
        self._after_write = after_write(path, readers, turn=self._writer)
        self.path = path
        self._place = FilePlace(path) if isinstance(path, Path) else None

    @classmethod
    def open(
        cls, path: DatabaseAddress, *, migrated: Callable[[Migration], None] | None = None, alone: bool = False
    ) -> Self:
        """Open the database, making it when it is missing and migrating it when it is older.

        `migrated` is told of a migration at once; without it, the log is. `alone`: as its manager, of which
        PostgreSQL's has one at a time; SQLite's is kept by the lock of the fleet folder.

        Raises:
            EnvironmentFailure: the folder is missing or not writable, the disk is full, it is no database, its server
                is not there, or another manager uses it.
            InputError: it is a database, and none that edgemm wrote.
            NewerFormatError: it was written by a later edgemm.
        """
        store = cls(*engines(path, alone=alone), path)
        try:
            store._hold(alone=alone)
            migration = bring_up_to_date(path)
            if migration is not None:
                (migrated or _log_migration)(migration)
            with store.write():  # a file that cannot be written is told of now, not in the middle of something
                pass
            store.count_devices()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def join(cls, path: DatabaseAddress) -> Self:
        """Open the database beside a manager that may be using it: it is neither made nor migrated.

        Raises:
            EnvironmentFailure: it is older than this edgemm, missing, or cannot be read.
            InputError: it is a database, and none that edgemm wrote.
            NewerFormatError: it was written by a later edgemm.
        """
        if not is_up_to_date(path):
            raise EnvironmentFailure(
                f"fleet database {path}: missing, or of an earlier edgemm; start the manager with this edgemm once, "
                f"which migrates it: edgemm fleet serve {path.parent if isinstance(path, Path) else 'FOLDER'}"
            )
        return cls(*engines(path), path)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that sees one state of the database and writes nothing."""
        with self.reading.watched(), described(self.path), self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open the one writing transaction; durable when the block ends, undone if it raises.

        Raises:
            EnvironmentFailure: the disk is full or the file cannot be written; nothing was changed.
        """
        times, asked_s = self.write_times, self.write_times.asked()
        with self.writing.watched(), described(self.path), self._turn(), self._writers.connect() as connection:
            writing = connection.execution_options(**WRITING)
            writing.info.pop(_AFTER, None)
            if self.census.doubtful:
                with writing.begin():  # what was in doubt is over: it had the writer
                    pass
                self.count_devices()
            with writing.begin():
                begun_s = times.asked()
                if self._place is not None:
                    self._place.expect()
                yield writing
                done_s = times.asked()
                if not isinstance(self.path, Path):
                    self.census.ends()
            times.ended(asked_s, begun_s, done_s)
            self.census.keep()
            for act in writing.info.pop(_AFTER, ()):
                act()
        self._after_write()

    def count_devices(self) -> None:
        """Count the devices anew, for the census; it reads all of them, while nothing here writes."""
        live = select(func.count()).select_from(devices).where(devices.c.removed_at.is_(None))
        online = live.where(devices.c.online.is_(True))
        with self.read() as tx:
            self.census.begin(devices=int(tx.execute(live).scalar_one()), online=int(tx.execute(online).scalar_one()))

    def close(self) -> None:
        """Close every connection."""
        self._readers.dispose()
        self._writers.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._writer:
            self.write_times.begins()
            try:
                yield
            finally:
                self.census.drop()  # what was not kept by then is undone
                self.write_times.over()

    def _hold(self, *, alone: bool) -> None:
        if alone:
            with described(self.path), self._writers.connect():  # the connection that keeps other managers out
                pass


def after_commit(tx: Transaction, act: Callable[[], None]) -> None:
    """Have something done as soon as what a transaction writes is durable, before others write; never, if it fails."""
    tx.info.setdefault(_AFTER, []).append(act)


def _log_migration(migration: Migration) -> None:
    _log.warning("database migrated from=%s to=%s copy=%s", migration.old, migration.new, migration.copy)


def count_up_to(tx: Transaction, query: Any, *, most: int) -> int:
    """Return how many rows a query finds; `most` where they are as many or more, and no more is looked at."""
    return int(tx.execute(select(func.count()).select_from(query.limit(most).subquery())).scalar_one())


def count(tx: Transaction, table: Any) -> int:
    """Return how many rows a table has."""
    return int(tx.execute(select(func.count()).select_from(table)).scalar_one())
