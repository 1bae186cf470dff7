"""The parts of the history: the one that is written to, and those that are dropped because all in them is too old.

A part ends with its day (UTC), or on SQLite when it is so large that a drop would hold the writer for too long: a drop
of SQLite looks at each page. What expires is never searched for, nor deleted row by row.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, Table, delete, func, insert, inspect, select, text, update

from edgemm_fleet.store.dialects.dropped_tables import unless_in_use
from edgemm_fleet.store.history.history_tables import HistoryKind, history_parts, part_table

_DAY_S = 86400.0
_MOST_ROWS = {HistoryKind.WINDOWS: 100_000, HistoryKind.HEALTH: 300_000}
"""Of a part in SQLite: it is dropped within a tenth of a second (60 ms measured on two busy cores)."""
_PARTS = history_parts.c


class HistoryPart(NamedTuple):
    """A part of the history."""

    number: int
    begun_at: float
    newest_at: float
    rows: int
    next_id: int


def parts_of(tx: Connection, kind: HistoryKind, *, limit: int | None = None) -> list[HistoryPart]:
    """Return the parts, the newest first."""
    columns = [_PARTS[name] for name in HistoryPart._fields]
    query = select(*columns).where(_PARTS.kind == kind).order_by(_PARTS.number.desc()).limit(limit)
    return [HistoryPart(*row) for row in tx.execute(query)]


def tables(tx: Connection) -> list[Table]:
    """Return the tables of all parts that there are."""
    there = set(inspect(tx).get_table_names())
    found = [part_table(kind, part.number) for kind in HistoryKind for part in parts_of(tx, kind)]
    return [table for table in found if table.name in there]


def current(tx: Connection, kind: HistoryKind, *, now: float) -> HistoryPart:
    """Return the part to write to now; a new one where there is none, or where the last one ends."""
    return current_and_last(tx, kind, now=now)[0]


def current_and_last(tx: Connection, kind: HistoryKind, *, now: float) -> list[HistoryPart]:
    """Return the part to write to now, as `current`, and the one before it, if there is one."""
    found = parts_of(tx, kind, limit=2)
    last = next(iter(found), None)
    if last is not None and not _ends(tx, kind, last, now=now):
        return found
    new = HistoryPart((last.number if last else 0) + 1, now, now, 0, last.next_id if last else 1)
    tx.execute(insert(history_parts).values(kind=kind, **new._asdict()))
    part_table(kind, new.number).create(tx)
    return [new, *found[:1]]


def note(tx: Connection, kind: HistoryKind, part: HistoryPart) -> None:
    """Write down how far a part is."""
    mine = (_PARTS.kind == kind) & (_PARTS.number == part.number)
    tx.execute(update(history_parts).where(mine).values(**part._asdict()))


def drop_one(tx: Connection, kind: HistoryKind, *, now: float, before: float, ahead: float) -> bool:
    """Drop the oldest part if all in it came before a time; tell whether it went.

    What bears a time later than `ahead` came while the clock was ahead: it is no newer than the next part that bears
    another. One that others read stays for now.
    """
    current(tx, kind, now=now)
    oldest, *later = reversed(parts_of(tx, kind))
    at = next((at for at in (oldest.newest_at, *(part.begun_at for part in later)) if at <= ahead), None)
    if not later or at is None or at >= before:
        return False
    return unless_in_use(tx, lambda: _drop(tx, kind, oldest.number))


def came(tx: Connection) -> int:
    """Return how many windows came."""
    number = tx.execute(select(func.max(_PARTS.next_id)).where(_PARTS.kind == HistoryKind.WINDOWS)).scalar()
    return 0 if number is None else int(number) - 1


def newest_at(tx: Connection, *, ahead: float) -> float | None:
    """Return when the last window came of those that are kept, and bear no time later than `ahead`."""
    mine = (_PARTS.kind == HistoryKind.WINDOWS) & (_PARTS.newest_at <= ahead)
    at = tx.execute(select(func.max(_PARTS.newest_at)).where(mine)).scalar()
    return None if at is None else float(at)


def _drop(tx: Connection, kind: HistoryKind, number: int) -> None:
    tx.execute(delete(history_parts).where(_PARTS.kind == kind, _PARTS.number == number))
    with_zeros = tx.dialect.name == "sqlite" and bool(tx.execute(text("PRAGMA secure_delete")).scalar())
    if with_zeros:  # Debian's SQLite: it would write each page anew
        tx.execute(text("PRAGMA secure_delete = 0"))
    try:
        part_table(kind, number).drop(tx, checkfirst=True)  # a migration notes one that is nowhere
    finally:
        if with_zeros:
            tx.execute(text("PRAGMA secure_delete = 1"))


def _ends(tx: Connection, kind: HistoryKind, part: HistoryPart, *, now: float) -> bool:
    large = tx.dialect.name == "sqlite" and part.rows >= _MOST_ROWS[kind]
    return large or part.begun_at // _DAY_S != now // _DAY_S
