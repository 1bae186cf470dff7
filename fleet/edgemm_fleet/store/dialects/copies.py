"""Copies of the database, taken before it is migrated, beside it.

    with copied(path, revision="0003") as copy:
        ...                 # what changes the database; an exception takes the copy away again
        copy.keep()         # it has its name now: fleet-0003-20261129T162237Z.db

A copy is one file, whole and on the disk before it has its name. What a killed process left is removed by the next one.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edgemm import durable
from edgemm.errors import EnvironmentFailure
from edgemm_fleet.store.dialects.sqlite import is_full

_TEMPORARY_PREFIX = f"{durable.TEMPORARY_PREFIX}copy-"


class PendingCopy:
    """A copy that is on the disk, whole, and has no name of its own yet."""

    def __init__(self, temporary: Path, path: Path) -> None:
        self._temporary, self.path = temporary, path

    def keep(self) -> None:
        """Give it its name, durably."""
        self._temporary.rename(self.path)
        durable.sync_folder(self.path.parent)


@contextmanager
def copied(path: Path, *, revision: str) -> Iterator[PendingCopy]:
    """Copy the database at `path` as it was last committed; nobody else may write to it meanwhile.

    Raises:
        EnvironmentFailure: the disk is full, the folder cannot be written, or the database is damaged.
    """
    try:
        for left in path.parent.glob(f"{_TEMPORARY_PREFIX}*"):
            left.unlink(missing_ok=True)
        temporary = path.with_name(f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            copy_database(path, temporary)
            yield PendingCopy(temporary, _free_name(path, revision))
        finally:
            for name in (temporary.name, f"{temporary.name}-journal"):
                temporary.with_name(name).unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as err:
        cause = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        raise EnvironmentFailure(
            f"cannot copy {path} before it is migrated: {cause}; nothing was changed: {_next_step(path, err)}"
        ) from err


def _next_step(path: Path, err: OSError | sqlite3.Error) -> str:
    if is_full(err, path):
        return durable.make_room(path.parent, needed=path.stat().st_size)
    if isinstance(err, sqlite3.DatabaseError) and not isinstance(err, sqlite3.OperationalError):
        return "put a copy in its place that is whole, or go on with the edgemm of before"
    return f"see that {path.parent} can be written, and start again"


def copy_database(path: Path, to: Path) -> None:
    """Copy a database as it was last committed into one new file, with its mode; others may go on writing to it.

    Raises:
        OSError, sqlite3.Error: the disk is full, one of them cannot be opened, or the database is damaged.
    """
    mode = path.stat().st_mode & 0o777
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.fchmod(descriptor, mode)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, whatever is beside the original
            found = target.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(f"it is damaged ({found[0]})")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_name(path: Path, revision: str) -> Path:
    name = f"{path.stem}-{revision}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    found, number = path.with_name(f"{name}{path.suffix}"), 1
    while found.exists():
        number += 1
        found = path.with_name(f"{name}-{number}{path.suffix}")
    return found
