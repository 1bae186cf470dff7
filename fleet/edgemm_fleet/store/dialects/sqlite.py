"""Connections to the database file: SQLite in WAL mode, and a look into a file that leaves it as it is."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, NotSupportedError, ProgrammingError

from edgemm import durable, library_errors
from edgemm.errors import EnvironmentFailure
from edgemm_fleet.store.dialects.checkpoints import LOG_BYTES
from edgemm_fleet.worker import ToldFailure

_BUSY_TIMEOUT_MS = 10_000
_LONGEST_LOG_PAGES = 32_768
ORDER_FUNCTION = "edgemm_order"
WRITING = {"edgemm_write": True}
"""Execution options of a connection whose transactions write."""
_FULL = "database or disk is full"
_NO_ROOM_BYTES = 256 * 1024
"""With less than that left, SQLite's errors of files are those of a full disk."""
_OURS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What SQLite says of a statement and its values, not of its file: trying it again changes nothing."""


def writable(path: Path, *, foreign_keys: bool = True) -> Engine:
    """Return an engine whose commits survive a loss of power; the file is made when it is missing.

    Without `foreign_keys` a table may be replaced by one of another shape, under its name.
    """
    url = URL.create("sqlite", database=str(path))  # no text to parse: a path may have any characters
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})

    def prepare(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        connection.isolation_level = None  # transactions begin where `_begin` says, not where sqlite3 guesses
        connection.text_factory = _text
        connection.create_function(ORDER_FUNCTION, 2, stable_order, deterministic=True)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            # `checkpoints` copies the log long before a commit would have to, and sees its length in the file's size.
            f"wal_autocheckpoint={_LONGEST_LOG_PAGES}",
            f"journal_size_limit={LOG_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def looking(path: Path) -> Iterator[Connection]:
    """Open a file to look into it: neither it nor its log of changes becomes another, nor is a file made beside it.

    Where there is a log, SQLite reads it by an index in shared memory, which it makes beside it.
    """
    log = beside(path, "-wal")
    logged = log.exists() and log.stat().st_size > 0
    uri = f"file:{quote(str(path))}?mode=ro{'' if logged else '&immutable=1'}"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def beside(path: Path, suffix: str) -> Path:
    """Return where SQLite keeps a log or journal of a database: beside the file itself, wherever a link to it is."""
    return Path(f"{path.resolve()}{suffix}")


class FilePlace:
    """The place of a database file: whoever removes or replaces it meanwhile would lose what is written from then on.

    SQLite goes on with the file that it opened, though nobody finds that any more.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._opened = path, _identity(path)

    def expect(self) -> None:
        """Look whether the file is the one that was opened, with its log of changes; a connection uses it now.

        Raises:
            ToldFailure: it is not.
        """
        opened = self._opened = self._opened or _identity(self._path)
        found = _identity(self._path)
        if found == opened and _identity(beside(self._path, "-wal")) is not None:
            return
        what = "was replaced" if found not in {None, opened} else "or its log was removed"
        raise ToldFailure(
            f"fleet database {self._path}: the file {what} while the manager runs; nothing of this step was kept: stop "
            "the manager, put the file in its place that is to count, and start it"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - in each transaction that writes
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


@contextmanager
def described(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one line about the database at `path`.

    Raises:
        EnvironmentFailure: the disk is full, the file cannot be written, or is damaged.
    """
    try:
        yield
    except _OURS:
        raise
    except DatabaseError as err:
        cause, step = str(err.orig or err), ""
        if is_full(err, path):
            cause, step = _FULL, f": {durable.make_room(path.resolve().parent)}"
        raise EnvironmentFailure(f"fleet database {path}: {cause}; nothing of this step was kept{step}") from err
    except UnicodeDecodeError as err:  # of an error's text that quotes the damage
        raise EnvironmentFailure(f"fleet database {path}: it is damaged; nothing of this step was kept") from err


def is_full(error: BaseException | None, path: Path) -> bool:
    """Tell whether an error came from a full disk below a database or another file at `path`.

    SQLite says "disk I/O error" where there is no room for the index of its log, or for the end of a file.
    """
    for cause in library_errors.chain(error):
        code = getattr(getattr(cause, "orig", cause), "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL or (isinstance(cause, OSError) and cause.errno in durable.FULL):
            return True
        if code & 0xFF == sqlite3.SQLITE_IOERR:
            return _left_bytes(path) < _NO_ROOM_BYTES
    return False


def _left_bytes(path: Path) -> float:
    try:
        facts = os.statvfs(path.resolve().parent)
    except OSError:
        return float("inf")
    return facts.f_bavail * facts.f_frsize


def stable_order(name: str, device: str) -> bytes:
    """Return by what devices are ordered: the same for one name (of a rollout) always, and different for another."""
    return hashlib.sha256(f"{name}:{device}".encode(errors="replace")).digest()


def _text(data: bytes) -> str:
    """Return a text; bytes of it that are none make that one text wrong, where sqlite3 would give the query up."""
    return data.decode(errors="replace")


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("edgemm_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
