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
    insert,
    literal_column,
    select,
    table,
)

from edgemm.messages import Telemetry
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.dropped_tables import until_one_is_gone
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
    rows = [
        {
            "id": part.next_id + number,
            "device": one.device,
            "boot": one.window.boot.hex(),
            "sequence": one.window.sequence,
            "window": one.sent,
            "received_at": now,
        }
        for number, one in enumerate(came)
    ]
    newest: dict[tuple[str, bytes], int] = {}
    for number, one in enumerate(came):
        key = (one.device, one.window.boot)
        if (before := newest.get(key)) is None or one.window.sequence > came[before].window.sequence:
            newest[key] = number
    portable.put(tx, latest, [rows[number] for number in newest.values()], only=_newer)
    chosen = [n for n, one in enumerate(came) if one.counts and (one.window.sequence - 1) % _KEPT_OF == 0]
    if chosen:
        tx.execute(insert(part_table(HistoryKind.WINDOWS, part.number)), [rows[number] for number in chosen])
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
    part, hour = parts.current(tx, HistoryKind.HEALTH, now=now), int(now // _HOUR_S)
    rows = {one.device: _health(one, hour) for one in reversed(came)}
    known = set[str]()
    for there in parts.parts_of(tx, HistoryKind.HEALTH, limit=2):
        if there.number == part.number or there.newest_at // _HOUR_S == hour:  # the last one may end within an hour
            table_ = part_table(HistoryKind.HEALTH, there.number)
            mine = portable.listed(table_.c.device, sorted(rows))
            known |= set(tx.execute(select(table_.c.device).where(mine, table_.c.hour == hour)).scalars())
    new = [row for device, row in rows.items() if device not in known]
    if new:
        tx.execute(insert(part_table(HistoryKind.HEALTH, part.number)), new)
        parts.note(tx, HistoryKind.HEALTH, part._replace(newest_at=now, rows=part.rows + len(new)))


def _health(one: Came, hour: int) -> portable.Row:
    window, temperature_c = one.window, one.window.system.temperature_c
    return {
        "device": one.device,
        "hour": hour,
        "boot": window.boot.hex(),
        "sequence": window.sequence,
        "uptime_s": window.uptime_s,
        "requests": sum(model.requests for model in window.models),
        "errors": sum(model.errors for model in window.models),
        "temperature_c": temperature_c if temperature_c is not None and math.isfinite(temperature_c) else None,
        "memory_available_bytes": window.system.memory_available_bytes,
        "disk_free_bytes": window.system.disk_free_bytes,
        "dropped": window.spool.dropped,
    }
