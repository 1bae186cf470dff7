"""The checkpoints of SQLite's log of changes (WAL): made beside those who write, and not in their commits.

A checkpoint copies the log into the database's file and waits for the disk, for as long as that takes. SQLite would
have the commit do it that made the log too long, while everybody else waits for the writer. So whoever wrote does it
after its turn: others write meanwhile, and what they write is copied next time. SQLite begins the log anew at the next
write after one that copied all of it; the file then shrinks to `LOG_BYTES`, which is how its size tells of its length.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

LOG_BYTES = 4 * 2**20
"""The log is copied whenever it has grown by so much."""
_TOO_LONG = 16 * LOG_BYTES
"""A log that never came to its end because of others who write is copied to the end while nobody in here does.

How far a copy came tells nothing of that: it looks at the log as it was when it began."""
_log = logging.getLogger(__name__)


class Checkpoints:
    """Keeps the log of one database short; safe to use from several threads."""

    def __init__(self, log: Path, engine: Engine, *, turn: AbstractContextManager[object]) -> None:
        self._file, self._engine, self._turn = log, engine, turn
        self._one = threading.Lock()
        self._copied_bytes = 0
        """How long the log was at the last checkpoint since it began anew."""

    def after_write(self) -> None:
        """Copy the log if it is long; called outside of any transaction."""
        if not self._is_due() or not self._one.acquire(blocking=False):
            return
        try:
            self._copy()
            if self._bytes() >= _TOO_LONG:
                with self._turn:
                    self._copy()
            self._copied_bytes = self._bytes()
        except (sqlite3.Error, SQLAlchemyError) as err:  # nothing is lost by it: it is tried again as the log grows
            self._copied_bytes = self._bytes()
            _log.warning("checkpoint_failed database=%s error=%s", self._file, err)
        finally:
            self._one.release()

    def _is_due(self) -> bool:
        size = self._bytes()
        if size <= LOG_BYTES:
            self._copied_bytes = 0
        return size > LOG_BYTES and not 0 <= size - self._copied_bytes < LOG_BYTES

    def _bytes(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:
            return 0

    def _copy(self) -> None:
        """Copy what nobody reads an earlier state of."""
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            cursor.close()
        finally:
            connection.close()
