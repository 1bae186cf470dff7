"""Events and telemetry that the fleet has not acknowledged as stored: bounded, durable, in order.

SQLite with a write-ahead log: one fsync a message. Beyond the cap the oldest messages are dropped and counted;
otherwise only an acknowledgement drops one. A full disk costs the new message, which is counted, and nothing else; a
message with a source is not lost, for the source tells it again.
Every message has (boot, stream, sequence from 1); what earlier boots left is sent before what this one adds.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgemm.messages import SpoolGauges, Stream, StreamAck

_log = logging.getLogger(__name__)
_OVERHEAD_BYTES = 64
"""What a row costs besides its body, roughly."""
_PAGE_BYTES = 512
"""SQLite's smallest: a message's commit rewrites whole pages, and a card wears by what is written.

A file that exists keeps the size that it has. `benchmarks/spool.py` measures.
"""
_WAL_BYTES = 4096 * 1024
"""The log is folded into the file at about this size, whatever the file's pages are."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    boot TEXT NOT NULL,
    boot_count INTEGER NOT NULL,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (boot, stream, sequence)
);
CREATE TABLE IF NOT EXISTS spooled (source TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class Spooled:
    """One message that waits; `floor` is the lowest sequence of its boot and stream that is still held."""

    id: int
    boot: str
    boot_count: int
    stream: Stream
    sequence: int
    floor: int
    body: bytes


class Spool:
    """The spool of one device; safe to use from many threads.

    Raises:
        sqlite3.Error: the disk is so full or broken that not even an empty spool can be made.
    """

    def __init__(self, path: Path, *, boot: str, boot_count: int, max_bytes: int) -> None:
        self._lock = threading.RLock()
        self._boot, self._boot_count, self._max_bytes = boot, boot_count, max_bytes
        self._sequences = dict.fromkeys(Stream, 0)
        self._dropped = 0
        self._count = self._bytes = 0
        self._failing = False
        self._database = _open(path)
        self._count_held()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def add(self, stream: Stream, body: bytes, *, sequence: int) -> bool:
        """Keep a message; tells whether it could be kept. `sequence` comes from `next_sequence`."""
        return self._add(stream, body, sequence=sequence, source=None)

    def add_once(self, stream: Stream, body: bytes, *, sequence: int, source: str, serial: int) -> bool:
        """Keep a message unless `source` already spooled this serial or a later one; tells whether it is known now."""
        return self._add(stream, body, sequence=sequence, source=(source, serial))

    def next_sequence(self, stream: Stream) -> int:
        """Return the sequence that this boot's next message of a stream will have."""
        with self._lock:
            return self._sequences[stream] + 1

    def last_serial(self, source: str) -> int:
        """Return the last serial that `source` spooled, in whichever boot; 0 where there is none.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        with self._lock:
            row = self._database.execute("SELECT serial FROM spooled WHERE source = ?", (source,)).fetchone()
        return 0 if row is None else int(row[0])

    def after(self, position: int, *, limit: int) -> list[Spooled]:
        """Return messages in order whose id is greater than `position`."""
        query = (
            "SELECT id, boot, boot_count, stream, sequence, (SELECT min(sequence) FROM message AS held"
            " WHERE held.boot = message.boot AND held.stream = message.stream), body"
            " FROM message WHERE id > ? ORDER BY id LIMIT ?"
        )
        with self._lock:
            rows = self._database.execute(query, (position, limit)).fetchall()
        return [Spooled(r[0], r[1], r[2], Stream(r[3]), r[4], r[5], r[6]) for r in rows]

    def acknowledge(self, acks: Iterable[StreamAck]) -> int:
        """Drop what is stored; returns how many messages that were."""
        with self._lock:
            before = self._count
            try:
                with self._transaction():
                    for ack in acks:
                        which = "boot = ? AND stream = ? AND sequence <= ?"
                        self._remove(which, (ack.boot, ack.stream.value, ack.sequence))
            except sqlite3.Error as err:
                self._failed("drop what is stored; it will be sent again", err)
            return before - self._count

    def gauges(self) -> SpoolGauges:
        """Return how much waits, and how much was dropped since this boot."""
        with self._lock:
            return SpoolGauges(waiting=self._count, dropped=self._dropped)

    def _add(self, stream: Stream, body: bytes, *, sequence: int, source: tuple[str, int] | None) -> bool:
        with self._lock:
            assert sequence == self._sequences[stream] + 1
            try:
                if source is not None and self.last_serial(source[0]) >= source[1]:
                    return True
                with self._transaction():
                    dropped = self._insert(stream, body, sequence, source)
            except sqlite3.Error as err:
                self._failed(f"keep a message stream={stream.value}", err)
                self._dropped += source is None
                return False
            if self._failing:
                self._failing = False
                _log.warning("spool keeps messages again dropped=%d", self._dropped)
            self._sequences[stream] = sequence
            self._dropped += dropped
            return True

    def _insert(self, stream: Stream, body: bytes, sequence: int, source: tuple[str, int] | None) -> int:
        """Insert one message and return how many old ones had to make room."""
        dropped = 0
        while self._count and self._bytes + len(body) + _OVERHEAD_BYTES > self._max_bytes:
            oldest = self._database.execute("SELECT min(id) FROM message").fetchone()[0]
            dropped += self._remove("id = ?", (oldest,))
        if source is not None:
            self._database.execute("INSERT OR REPLACE INTO spooled VALUES (?, ?)", source)
        self._database.execute(
            "INSERT INTO message (boot, boot_count, stream, sequence, body) VALUES (?, ?, ?, ?, ?)",
            (self._boot, self._boot_count, stream.value, sequence, body),
        )
        self._count += 1
        self._bytes += len(body) + _OVERHEAD_BYTES
        return dropped

    def _remove(self, where: str, values: tuple[object, ...]) -> int:
        """Delete messages; `where` is one of this module's own texts."""
        query = f"DELETE FROM message WHERE {where} RETURNING length(body)"  # noqa: S608
        sizes = [int(row[0]) for row in self._database.execute(query, values).fetchall()]
        self._count -= len(sizes)
        self._bytes -= sum(sizes) + len(sizes) * _OVERHEAD_BYTES
        return len(sizes)

    def _failed(self, what: str, err: sqlite3.Error) -> None:
        """Say so once until it works again, and count anew after a transaction that was undone."""
        if not self._failing:
            self._failing = True
            _log.warning("spool cannot %s error=%s", what, err)
        try:
            self._count_held()
        except sqlite3.Error as unread:
            _log.warning("spool cannot be read error=%s", unread)

    def _count_held(self) -> None:
        row = self._database.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM message").fetchone()
        self._count, self._bytes = int(row[0]), int(row[0]) * _OVERHEAD_BYTES + int(row[1])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def open_spool(path: Path, *, boot: str, boot_count: int, max_bytes: int) -> Spool:
    """Open the spool on disk; where not even that is possible, one in memory, for the device must come up."""
    try:
        return Spool(path, boot=boot, boot_count=boot_count, max_bytes=max_bytes)
    except sqlite3.Error as err:
        _log.error("spool kept in memory only file=%s error=%s", path, err)
        return Spool(Path(":memory:"), boot=boot, boot_count=boot_count, max_bytes=max_bytes)


def _open(path: Path) -> sqlite3.Connection:
    """Open the database; one that storage has damaged is put aside, for a device must come up."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as err:
        if isinstance(err, sqlite3.OperationalError):
            raise
        _log.error("spool damaged, begun anew file=%s error=%s", path, err)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute("PRAGMA journal_mode = WAL")
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        database.execute(f"PRAGMA wal_autocheckpoint = {_WAL_BYTES // int(page_bytes)}")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        _check(database)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    """Find now what would otherwise fail later, in the middle of an update."""
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(str(found))
