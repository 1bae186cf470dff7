"""The store's table of events, each of which is stored once; and the windows that are kept (`history`).

The store also notes the position in each stream up to which nothing is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import convert
from sqlalchemy import BigInteger, ColumnElement, String, Table, delete, func, literal_column, select

from edgemm.messages import Event, Stream, Telemetry
from edgemm_fleet.records import json_text
from edgemm_fleet.records.records import EventRecord, HealthRecord, Item, Page, TelemetryRecord
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.keyed import find_by_keys
from edgemm_fleet.store.dialects.many_rows import put_many
from edgemm_fleet.store.history import hours, parts, windows
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import devices, events, positions, telemetry

_TABLES = {Stream.EVENT: events, Stream.TELEMETRY: telemetry}


class StreamKey(NamedTuple):
    """Names one boot's stream of a device."""

    device: str
    boot: str
    stream: Stream


class Position(NamedTuple):
    """How far a stream is."""

    contiguous: int
    """The highest sequence up to which nothing is missing."""
    highest: int
    """The highest sequence seen."""
    above: int = 0
    """Of windows, which of those behind a gap came: bit n stands for the sequence n + 1 above `contiguous`."""


NOWHERE = Position(0, 0)
"""Of a stream of which nothing came yet."""


def add_events(tx: Transaction, items: Sequence[Event], *, now: float) -> None:
    """Store events; one that is here already (device, boot, sequence) changes nothing.

    One of before the device was enrolled anew is superseded.
    """
    rows = [
        {
            "device": event.device,
            "boot": event.boot,
            "sequence": event.sequence,
            "model": event.model,
            "rollout": event.rollout,
            "event_json": json_text.written(event),
            "received_at": now,
        }
        for event in items
    ]
    _add_unless_here(tx, events, rows)


def positions_of(tx: Transaction, keys: Sequence[StreamKey]) -> dict[StreamKey, Position]:
    """Return how far streams are; those of which nothing came yet are missing."""
    found = find_by_keys(tx, positions, StreamKey._fields, keys, wanted=Position._fields)
    return {
        keys[number]: Position(int(contiguous), int(highest), int.from_bytes(above or b"", "little"))
        for number, contiguous, highest, above in found
    }


def put_positions(tx: Transaction, changed: Mapping[StreamKey, Position]) -> None:
    """Write what `positions_of` returns."""
    rows = [
        (device, boot, stream.value, position.contiguous, position.highest, _bits(position.above))
        for (device, boot, stream), position in changed.items()
    ]
    put_many(tx, positions, rows)


def _bits(above: int) -> bytes | None:
    return above.to_bytes((above.bit_length() + 7) // 8, "little") or None


def of_many_boots(tx: Transaction, devices: Collection[str], *, most: int) -> list[str]:
    """Return those of these devices of which the positions of more streams are kept than that."""
    mine = positions.c.device
    query = select(mine).where(portable.listed(mine, devices)).group_by(mine).having(func.count() > most)
    return list(tx.execute(query).scalars())


def forget_boots(tx: Transaction, device: str, *, most: int) -> None:
    """Forget the positions of all but the latest streams of a device: what comes of others again is found stored."""
    mine = positions.c.device == device
    order: ColumnElement[int] = literal_column(portable.ROWID, BigInteger)
    latest = select(order).select_from(positions).where(mine).order_by(order.desc()).limit(most)
    tx.execute(delete(positions).where(mine, order.not_in(latest)))


def forget_positions(tx: Transaction, device: str) -> None:
    """Forget how far the streams of a device are; what it sent stays, and is superseded where it comes anew."""
    tx.execute(delete(positions).where(positions.c.device == device))


def events_above(tx: Transaction, key: StreamKey, *, above: int, limit: int) -> list[int]:
    """Return the lowest sequences of a boot's stored events above a number, rising."""
    mine = (events.c.device == key.device) & (events.c.boot == key.boot)
    query = select(events.c.sequence).where(mine, events.c.sequence > above)
    return list(tx.execute(query.order_by(events.c.sequence).limit(limit)).scalars())


def page_events(
    tx: Transaction,
    device: str,
    *,
    after: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[EventRecord]:
    """List a device's events, newest stored first."""
    query = select(events).where(events.c.device == device)
    read = _reader(tx, "events", _event)
    return paging.newest_first(tx, query, key=events.c.id, after=after, limit=limit, read=read)


def page_telemetry(
    tx: Transaction,
    device: str,
    *,
    after: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[TelemetryRecord]:
    """List what is kept of a device's telemetry windows, newest stored first."""
    most, below = paging.clamp(limit), None if after is None else paging.number(after)
    rows = windows.newest_first(tx, device, below=below, most=most + 1, others=telemetry)
    return paging.page_of(rows, most, key="id", read=_reader(tx, "telemetry", _telemetry))


def page_health(
    tx: Transaction,
    device: str,
    *,
    after: str | None = None,
    since: float | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[HealthRecord]:
    """List the rows of an hour of a device, the newest first; those since a time, in seconds since the epoch."""
    most, below = paging.clamp(limit), None if after is None else paging.number(after)
    rows = hours.newest_first(tx, device, below=below, since=since, most=most + 1)
    return paging.page_of(rows, most, key="hour", read=_reader(tx, "health", _health))


class Pruning(NamedTuple):
    """How far a pruning is: what it deleted, the last id that it looked at, and the last that was too old."""

    deleted: int = 0
    after: int = 0
    last_old: int = 0
    over: bool = False


def prune(tx: Transaction, stream: Stream, done: Pruning, *, before: float, ahead: float, limit: int) -> Pruning:
    """Delete some of what was received before a time, and go on from `done`; call it until that is `over`.

    Items are looked at by id, in which order they came, and no index on the time is needed. What bears a time later
    than `ahead` came while the clock was ahead: it holds up nothing, and is too old if it came before one that is.
    """
    table = _TABLES[stream]
    query = select(table.c.id, table.c.received_at).where(table.c.id > done.after).order_by(table.c.id).limit(limit)
    found = tx.execute(query).all()
    last_old = max((id_ for id_, at in found if at < before), default=done.last_old)
    too_old = (table.c.received_at < before) | (table.c.received_at > ahead)
    ids = select(table.c.id).where(table.c.id <= last_old, too_old).order_by(table.c.id).limit(limit)
    deleted = tx.execute(delete(table).where(table.c.id.in_(ids))).rowcount
    more = len(found) == limit and (last_old > done.last_old or all(at > ahead for _, at in found))
    left = done.after > 0 and deleted == limit
    return Pruning(done.deleted + deleted, found[-1][0] if found else done.after, last_old, not more and not left)


def newest_at(tx: Transaction, *, ahead: float) -> float | None:
    """Return when the item of any stream was received that came last; None where there is none.

    What bears a time later than `ahead` came while the clock was ahead, and does not count.
    """
    last = [select(t.c.received_at).order_by(t.c.id.desc()).limit(1) for t in _TABLES.values()]
    found = [*(tx.execute(query).scalar() for query in last), parts.newest_at(tx, ahead=ahead)]
    return max((at for at in found if at is not None and at <= ahead), default=None)


def received(tx: Transaction) -> dict[Stream, int]:
    """Return how many items of each stream came in; what was deleted since is among them, unless all of it was."""
    number = int(tx.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one())
    return {Stream.EVENT: number, Stream.TELEMETRY: parts.came(tx)}


def _add_unless_here(tx: Transaction, table: Table, rows: Sequence[portable.Row]) -> None:
    """Insert what is new; what was stored before the device enrolled anew is no longer its own, and gives way."""

    def of_before(new: Any) -> ColumnElement[bool]:
        # As text: of a column, SQLAlchemy would read the whole table anew.
        enrolled = select(devices.c.enrolled_at).where(devices.c.id == literal_column(f"{new.device}", String))
        return table.c.received_at <= enrolled.scalar_subquery()

    portable.put(tx, table, rows, keys=("device", "boot", "sequence"), only=of_before)


def _reader(tx: Transaction, part: str, read: Callable[[Any], Item]) -> Callable[[Any], Item | None]:
    return quarantine(tx).reader(part, read, device=lambda row: str(row.device), lasting=True)


def _event(row: Any) -> EventRecord:
    event = json_text.read(row.event_json, Event)
    return convert({"id": row.id, "event": event, "received_at": row.received_at}, EventRecord)


def _telemetry(row: Any) -> TelemetryRecord:
    window = msgspec.msgpack.decode(row.window, type=Telemetry)
    values = {"id": row.id, "device": row.device, "telemetry": window, "received_at": row.received_at}
    return convert(values, TelemetryRecord)


def _health(row: Any) -> HealthRecord:
    return convert({name: getattr(row, name) for name in HealthRecord.__struct_fields__}, HealthRecord)
