"""The spool's SQLite database: messages, serials already spooled, and the write budget, changed in one commit each.

It uses a write-ahead log: one fsync per commit. Only this process uses the database, so SQLite keeps the index of its
log in its own memory. As a file, the index would cost the card more than the messages do, since each commit changes
most of its pages.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgemm import durable
from edgemm.messages import Stream
from edgemm_runtime.agent.spool.budget import Price
from edgemm_runtime.agent.spool.wal import BLOCK_BYTES, LogReader
from edgemm_runtime.write_budget import WriteBudget

_log = logging.getLogger(__name__)
_PAGE_BYTES = 512
"""SQLite's smallest: a message's commit rewrites whole pages, and a card wears by what is written.

A file that exists keeps the size that it has. `benchmarks/spool.py` measures.
"""
_WAL_BYTES = 4096 * 1024
"""The log is folded into the file at about this size, whatever the file's pages are."""
_COMMIT_PAGES, _MESSAGE_PAGES, _REMOVAL_PAGES = 24, 2, 4
"""The most pages that a commit changes besides those of bodies; tests compare with what SQLite writes."""
_CHUNK_ROWS, _PASSED_OVER = 64, 100
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
"""
_COLUMNS = {"id", "boot", "boot_count", "stream", "sequence", "body"}
SHAPE = "1.1"
"""The number of the tables' shape, of which `user_version` is the major; `budget` came with 1.1.

A minor is for what an agent of before passes over. A spool of a newer major is put aside as `NAME.vMAJOR`.
"""
_VERSION = int(SHAPE.split(".", maxsplit=1)[0])
_UNREADABLE_SCHEMA = """
CREATE TEMP TABLE unreadable (id INTEGER PRIMARY KEY);
CREATE TEMP VIEW readable AS SELECT * FROM message WHERE id NOT IN (SELECT id FROM unreadable);
"""
"""Messages that nobody can read: passed over from then on, and removed by a later commit."""
_MARK_UNREADABLE = (
    "INSERT INTO unreadable SELECT id FROM message"  # noqa: S608 - own texts
    " WHERE typeof(boot) <> 'text' OR typeof(boot_count) <> 'integer'"
    " OR length(boot) <> 16 OR boot GLOB '*[^0-9a-f]*'"  # text that is no UTF-8 cannot even be fetched
    " OR typeof(sequence) <> 'integer' OR sequence < 1 OR typeof(body) <> 'blob'"
    f" OR stream NOT IN ({', '.join('?' * len(Stream))})"
)
_BUDGET_SCHEMA = "CREATE TABLE IF NOT EXISTS budget (id INTEGER PRIMARY KEY, left_bytes INTEGER, as_of_s REAL)"

Key = tuple[str, Stream]
"""A boot and a stream of it."""


@dataclass(frozen=True)
class SpoolRow:
    """One message; `source` is whose transition it tells, with its serial."""

    id: int
    boot: str
    boot_count: int
    stream: Stream
    sequence: int
    body: bytes
    source: tuple[str, int] | None = None


@dataclass(frozen=True)
class StoredMessages:
    """How many messages, their bytes, and the highest sequence of them (0 for none)."""

    count: int
    size: int
    last: int


class SpoolDatabase:
    """One open database.

    Raises:
        sqlite3.Error: of each method: the disk is so full or broken that it cannot be done.
    """

    def __init__(self, path: Path) -> None:
        self._database, self.put_aside = _open(path)
        """`put_aside` is how many messages of a newer agent's spool are not sent by this one."""
        (page_bytes,) = self._database.execute("PRAGMA page_size").fetchone()
        self._database.execute("PRAGMA temp_store = MEMORY")
        self._database.executescript(_UNREADABLE_SCHEMA)
        self.unreadable = self._database.execute(_MARK_UNREADABLE, [stream.value for stream in Stream]).rowcount
        """How many messages nobody could read when the database was opened: of an unknown stream, or damaged."""
        self._log = LogReader(path.with_name(path.name + "-wal"))
        self._log.advance()
        # Each page goes to the log, with its head, and costs a block of the file when the log is folded.
        page = int(page_bytes) + 24 + max(BLOCK_BYTES, int(page_bytes))
        self.price = Price(
            commit=_COMMIT_PAGES * page + 2 * BLOCK_BYTES,
            page=page,
            message=_MESSAGE_PAGES * page,
            removal=_REMOVAL_PAGES * page,
            page_bytes=int(page_bytes) - 4,
        )

    def close(self) -> None:
        """Fold the log and close."""
        self._database.close()

    def last_id(self) -> int:
        """Return the highest id that a message ever had."""
        row = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
        return 0 if row is None else int(row[0])

    def last_serial(self, source: str) -> int:
        """Return the last serial that `source` spooled, in whichever boot; 0 where there is none."""
        row = self._database.execute("SELECT serial FROM spooled WHERE source = ?", (source,)).fetchone()
        return 0 if row is None else int(row[0])

    def budget(self, day_bytes: int, *, now_s: float) -> WriteBudget:
        """Return the budget that was kept last, a full one where there is none."""
        self._database.execute(_BUDGET_SCHEMA)
        row = self._database.execute("SELECT left_bytes, as_of_s FROM budget").fetchone()
        self._log.advance()
        if row is None:
            return WriteBudget.full(day_bytes, now_s=now_s)
        return WriteBudget(day_bytes, float(row[0]), float(row[1])).at(now_s)

    def rows(self, position: int, *, gone: Mapping[Key, int]) -> Iterator[SpoolRow]:
        """Yield messages in order whose id is greater than `position`, without those that are `gone`."""
        # SQLite passes over what is gone without reading its bodies; of very many starts it is done here.
        passed_over = list(gone.items())[:_PASSED_OVER]
        query = (
            "SELECT id, boot, boot_count, stream, sequence, body FROM readable WHERE id > ?"  # noqa: S608 - own texts
            + " AND NOT (boot = ? AND stream = ? AND sequence <= ?)" * len(passed_over)
            + " ORDER BY id LIMIT ?"
        )
        values = [value for (boot, stream), to in passed_over for value in (boot, stream.value, to)]
        while found := self._database.execute(query, (position, *values, _CHUNK_ROWS)).fetchall():
            for row in found:
                key = row[1], Stream(row[3])
                if row[4] > gone.get(key, 0):
                    yield SpoolRow(row[0], key[0], row[2], key[1], row[4], row[5])
            position = found[-1][0]

    def lowest(self, key: Key, *, above: int) -> int | None:
        """Return the lowest sequence above another one; None where there is none."""
        query = "SELECT min(sequence) FROM readable WHERE boot = ? AND stream = ? AND sequence > ?"
        (found,) = self._database.execute(query, (*key, above)).fetchone()
        return None if found is None else int(found)

    def found(self, key: Key, *, above: int, to: int) -> StoredMessages:
        """Return what there is in a range of sequences."""
        query = (
            "SELECT count(*), coalesce(sum(length(body)), 0), coalesce(max(sequence), 0) FROM readable"
            " WHERE boot = ? AND stream = ? AND sequence > ? AND sequence <= ?"
        )
        return StoredMessages(*self._database.execute(query, (*key, above, to)).fetchone())

    def count_all(self) -> tuple[int, int]:
        """Return number and bytes of all messages that can be read."""
        query = "SELECT count(*), coalesce(sum(length(body)), 0) FROM readable"
        count, size = self._database.execute(query).fetchone()
        return int(count), int(size)

    def give_up(self, message_id: int) -> None:
        """Note that nobody can read a message."""
        self._database.execute("INSERT OR IGNORE INTO unreadable VALUES (?)", (message_id,))

    def commit(
        self,
        rows: Sequence[SpoolRow],
        *,
        gone: Mapping[Key, int],
        unreadable: int = 0,
        budget: WriteBudget | None,
        most: int,
    ) -> int:
        """Remove messages up to a sequence, add others, keep the budget; return the bytes written.

        So many that nobody can read are removed as well, the oldest first. `most` is what it may cost: where the log,
        once folded, would then cost more than the budget's share for that, it is folded first.
        """
        if budget is not None and self._log.fold_bytes + most > budget.fold_bytes:
            with suppress(sqlite3.Error):  # as SQLite's own, which it tries again with each commit
                self._database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        with self._transaction():
            for key, sequence in gone.items():
                query = "DELETE FROM message WHERE boot = ? AND stream = ? AND sequence <= ?"
                self._database.execute(query, (*key, sequence))
            if unreadable:
                self._remove_unreadable(unreadable)
            for row in rows:
                self._insert(row)
            if budget is not None:
                values = (int(budget.left_bytes), budget.as_of_s)
                self._database.execute("INSERT OR REPLACE INTO budget VALUES (1, ?, ?)", values)
        try:
            return self._log.advance()
        except OSError as err:
            _log.warning("spool cannot tell what it wrote error=%s", err)
            return most

    def _remove_unreadable(self, count: int) -> None:
        ids = self._database.execute("SELECT id FROM unreadable ORDER BY id LIMIT ?", (count,)).fetchall()
        self._database.executemany("DELETE FROM message WHERE id = ?", ids)
        self._database.executemany("DELETE FROM unreadable WHERE id = ?", ids)

    def _insert(self, row: SpoolRow) -> None:
        if row.source is not None:
            self._database.execute("INSERT OR REPLACE INTO spooled VALUES (?, ?)", row.source)
        self._database.execute(
            "INSERT INTO message (boot, boot_count, stream, sequence, body, id) VALUES (?, ?, ?, ?, ?, ?)",
            (row.boot, row.boot_count, row.stream.value, row.sequence, row.body, row.id),
        )

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


def _open(path: Path) -> tuple[sqlite3.Connection, int]:
    """Open the database; return it, and how many messages of a newer agent were put aside with their spool.

    One that storage has damaged is removed, for a device must come up.
    """
    try:
        return _connect(path), 0
    except _NewerSpoolError as newer:
        _log.error(
            "spool of a newer agent put aside file=%s version=%d messages=%d", path, newer.version, newer.messages
        )
        _put_aside(path, newer.version)
        return _connect(path), newer.messages
    except (sqlite3.DatabaseError, UnicodeDecodeError) as err:  # the latter of an error's text that quotes the damage
        if isinstance(err, sqlite3.OperationalError):
            raise
        _log.error("spool damaged, begun anew file=%s error=%s", path, err)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _connect(path), 0


class _NewerSpoolError(Exception):
    """The spool is of a newer major version."""

    def __init__(self, version: int, messages: int) -> None:
        super().__init__(version, messages)
        self.version, self.messages = version, messages


def _put_aside(path: Path, version: int) -> None:
    log, its_log = (path.with_name(f"{path.name}{part}-wal") for part in ("", f".v{version}"))
    try:
        its_log.unlink(missing_ok=True)  # of one that was put aside before
        with suppress(FileNotFoundError):
            log.replace(its_log)  # before the file, which would be another without it
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        durable.put_aside(path, major=version)
    except OSError as err:
        raise sqlite3.OperationalError(f"spool of a newer agent not put aside: {err}") from err


def _refuse_newer(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        messages = 0
        with suppress(sqlite3.Error):  # as far as it still has that table
            (messages,) = database.execute("SELECT count(*) FROM message").fetchone()
        raise _NewerSpoolError(version, messages)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        _refuse_newer(database)
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute("PRAGMA journal_mode = WAL")
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        database.execute(f"PRAGMA wal_autocheckpoint = {_WAL_BYTES // int(page_bytes)}")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        if database.execute("PRAGMA user_version").fetchone() != (_VERSION,):  # which writes even what is there already
            database.execute(f"PRAGMA user_version = {_VERSION}")
        _check(database)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    """Find now what would otherwise fail later, in the middle of an update; an index is made anew."""
    if missing := _COLUMNS - {name for _, name, *_ in database.execute("PRAGMA table_info(message)")}:
        raise sqlite3.DatabaseError(f"table message without {min(missing)}")
    if database.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",):
        return
    # Only the whole check compares the rows with their index, by which messages are found, counted and removed.
    for mend in ("PRAGMA quick_check(1)", "REINDEX message", "PRAGMA integrity_check(1)"):
        found = database.execute(mend).fetchone()
        if found not in {None, ("ok",)}:
            raise sqlite3.DatabaseError(str(found[0]))
    _log.warning("spool damaged, its index made anew")
