"""Windows that are kept: the newest of each boot, one in ten for days, and a narrow row an hour for weeks.

Counters in windows are cumulative since boot: what is left out costs resolution, and no data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    String,
    Table,
    column,
    delete,
    func,
    literal_column,
    select,
    table,
)

from edgemm.messages import Telemetry
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.dropped_tables import until_one_is_gone
from edgemm_fleet.store.dialects.many_rows import Values, insert_many, put_many
from edgemm_fleet.store.history import parts
from edgemm_fleet.store.history.history_tables import HistoryKind, latest, part_table

_KEPT_OF = 10
_HOUR_S = 3600
MOST_BOOTS = 16
"""Of a device, of which the newest window is kept."""
_devices = table("devices", column("id", String), column("enrolled_at"))


class Came(NamedTuple):
    """A window that came and was not here before."""

    device: str
    window: Telemetry
    sent: bytes
    """Its bytes as they came."""
    counts: bool = True
    """Whether it is remembered that it came; else it comes again, and is no part of the history yet."""


def add(tx: Connection, came: Sequence[Came], *, now: float) -> None:
    """Keep what is to be kept of windows; none of them is given twice with `counts`."""
    if not came:
        return
    part = parts.current(tx, HistoryKind.WINDOWS, now=now)
    newest: dict[tuple[str, bytes], int] = {}
    chosen = []
    for number, (device, window, _, counts) in enumerate(came):
        key, sequence = (device, window.boot), window.sequence
        if (before := newest.get(key)) is None or sequence > came[before].window.sequence:
            newest[key] = number
        if counts and (sequence - 1) % _KEPT_OF == 0:
            chosen.append(number)
    newest_rows = [
        (one.device, one.window.boot.hex(), part.next_id + number, one.window.sequence, one.sent, now)
        for number, one in ((number, came[number]) for number in newest.values())
    ]
    put_many(tx, latest, newest_rows, only=_newer)
    if chosen:
        rows = [
            (part.next_id + number, one.device, one.window.boot.hex(), one.window.sequence, one.sent, now)
            for number, one in ((number, came[number]) for number in chosen)
        ]
        insert_many(tx, part_table(HistoryKind.WINDOWS, part.number), rows)
        _add_health(tx, [came[number] for number in chosen], now=now)
    counted = part._replace(newest_at=now, rows=part.rows + len(chosen), next_id=part.next_id + len(came))
    parts.note(tx, HistoryKind.WINDOWS, counted)


def forget_boots(tx: Connection, devices: Collection[str]) -> None:
    """Forget the newest windows of all but the latest boots of these devices."""
    mine = latest.c.device
    many = select(mine).where(portable.listed(mine, devices)).group_by(mine).having(func.count() > MOST_BOOTS)
    for device in tx.execute(many).scalars().all():
        kept = select(latest.c.id).where(mine == device).order_by(latest.c.id.desc()).limit(MOST_BOOTS)
        tx.execute(delete(latest).where(mine == device, latest.c.id.not_in(kept)))


def newest_first(tx: Connection, device: str, *, below: int | None, most: int, others: Table) -> list[Row[Any]]:
    """Return at most so many windows of a device by falling `id`; `others` are those of before there were parts."""
    found = sorted(_candidates(tx, device, below=below, most=most, others=others), key=lambda row: -row.id)
    seen, rows = set[tuple[str, int]](), []
    for row in found:
        if (key := (row.boot, row.sequence)) not in seen:
            seen.add(key)
            rows.append(row)
    return rows[:most]


def _candidates(tx: Connection, device: str, *, below: int | None, most: int, others: Table) -> list[Row[Any]]:
    def of(found: Table) -> Sequence[Row[Any]]:
        columns = [found.c[name] for name in ("id", "device", "boot", "sequence", "window", "received_at")]
        query = select(*columns).where(found.c.device == device).order_by(found.c.id.desc()).limit(most)
        return tx.execute(query if below is None else query.where(found.c.id < below)).all()

    found, kept = list(of(latest)), list[Row[Any]]()
    with until_one_is_gone(tx):  # then those before it are gone too
        for part in parts.parts_of(tx, HistoryKind.WINDOWS):
            kept += of(part_table(HistoryKind.WINDOWS, part.number)) if part.rows else ()
            if len(kept) >= most + MOST_BOOTS:
                return found + kept
    return [*found, *kept, *of(others)]


def _newer(new: Any) -> ColumnElement[bool]:
    """Tell whether a window replaces the one that is there: it is later, or that was of before its device enrolled."""
    enrolled = select(_devices.c.enrolled_at).where(_devices.c.id == literal_column(f"{new.device}", String))
    later: ColumnElement[bool] = new.sequence > latest.c.sequence
    return later | (latest.c.received_at <= enrolled.scalar_subquery())


def _add_health(tx: Connection, came: Sequence[Came], *, now: float) -> None:
    """Keep the first of these windows of each device in an hour, in short."""
    last_two, hour = parts.current_and_last(tx, HistoryKind.HEALTH, now=now), int(now // _HOUR_S)
    part = last_two[0]
    rows = {one.device: _health(one, hour) for one in reversed(came)}
    known = set[str]()
    for there in last_two:
        if there.number == part.number or there.newest_at // _HOUR_S == hour:  # the last one may end within an hour
            table_ = part_table(HistoryKind.HEALTH, there.number)
            mine = portable.listed(table_.c.device, sorted(rows))
            known |= set(tx.execute(select(table_.c.device).where(mine, table_.c.hour == hour)).scalars())
    new = [row for device, row in rows.items() if device not in known]
    if new:
        insert_many(tx, part_table(HistoryKind.HEALTH, part.number), new)
        parts.note(tx, HistoryKind.HEALTH, part._replace(newest_at=now, rows=part.rows + len(new)))


def _health(one: Came, hour: int) -> Values:
    window, temperature_c = one.window, one.window.system.temperature_c
    return (
        one.device,
        hour,
        window.boot.hex(),
        window.sequence,
        window.uptime_s,
        sum(model.requests for model in window.models),
        sum(model.errors for model in window.models),
        temperature_c if temperature_c is not None and math.isfinite(temperature_c) else None,
        window.system.memory_available_bytes,
        window.system.disk_free_bytes,
        window.spool.dropped,
    )
