"""The store's table of each device's composed `desired`, with its outbox.

`edgemm_fleet.director` composes it from the device's assignments. A row stays `unsent` until the broker has it, so that
a killed manager sends it after its restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from edgemm import times
from edgemm.messages import Desired
from edgemm_fleet.records.records import DesiredRecord, Refusal
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import desired, devices

FIRST_PAUSE_S = 30.0
"""For how long an answer is waited for at first."""
LONGEST_PAUSE_S = 3600.0
"""For how long at most, before a `desired` is sent again."""
_MAX_DOUBLINGS = 16


def find(tx: Transaction, device: str) -> DesiredRecord | None:
    """Return what a device was told last, or is about to be told."""
    row = tx.execute(select(desired).where(desired.c.device == device)).one_or_none()
    return None if row is None else _read(row)


def of(tx: Transaction, ids: Sequence[str]) -> dict[str, DesiredRecord]:
    """Return what several devices were told last; those never told anything are missing."""
    query = select(desired).where(desired.c.device.in_(ids))
    return {row.device: _read(row) for row in tx.execute(query)}


def put(tx: Transaction, wanted: Sequence[DesiredRecord]) -> None:
    """Make each of these its device's `desired`."""
    rows = [
        {
            "device": one.desired.device,
            "generation": one.desired.generation,
            "desired_json": msgspec.json.encode(one.desired).decode(),
            "expires_at": float(times.from_text(one.desired.expires)),
            "unsent": one.unsent,
            "content_hash": one.content_hash,
            "tries": one.tries,
            "again_at": one.again_at,
            "refusal_json": _refusal_json(one.refusal),
        }
        for one in wanted
    ]
    if rows:
        query = insert(desired)
        changed = {name: query.excluded[name] for name in rows[0] if name != "device"}
        tx.execute(query.on_conflict_do_update(index_elements=["device"], set_=changed), rows)


def unsent(tx: Transaction, *, limit: int) -> list[Desired]:
    """Return what the broker has yet to be told, at most `limit` of it."""
    joined = select(desired).join(devices, devices.c.id == desired.c.device).where(devices.c.removed_at.is_(None))
    query = joined.where(desired.c.unsent).order_by(desired.c.device).limit(limit)
    return [_read(row).desired for row in tx.execute(query)]


def mark_sent(tx: Transaction, sent: Iterable[Desired], *, now: float, first_pause_s: float = FIRST_PAUSE_S) -> None:
    """Note that the broker has these; one that changed meanwhile stays unsent.

    Without an answer each is sent again after a pause, which doubles each time (`due`).
    """
    told = list(sent)
    query = select(desired.c.device, desired.c.tries).where(desired.c.device.in_([one.device for one in told]))
    tries = {device: number + 1 for device, number in tx.execute(query)}
    rows = [
        {
            "d": one.device,
            "g": one.generation,
            "e": float(times.from_text(one.expires)),
            "tries": tries[one.device],
            "again_at": now + pause_s(tries[one.device], first_s=first_pause_s),
        }
        for one in told
        if one.device in tries
    ]
    if rows:
        same = (desired.c.generation == bindparam("g")) & (desired.c.expires_at == bindparam("e"))
        noted = {"unsent": False, "sent_at": now, "tries": bindparam("tries"), "again_at": bindparam("again_at")}
        tx.execute(update(desired).where(desired.c.device == bindparam("d"), same).values(**noted), rows)


def pause_s(tries: int, *, first_s: float = FIRST_PAUSE_S) -> float:
    """Return how long an answer is waited for after a `desired` was sent this many times (≥ 1)."""
    return min(LONGEST_PAUSE_S, first_s * 2.0 ** min(tries - 1, _MAX_DOUBLINGS))


def mark_unsent(tx: Transaction, devices_to_tell: Iterable[str]) -> None:
    """Have these devices told again, as after a report of another generation."""
    wanted = sorted(set(devices_to_tell))
    if wanted:
        tx.execute(update(desired).where(desired.c.device.in_(wanted)).values(unsent=True))


def note_answered(tx: Transaction, device: str) -> None:
    """Note that a device acts on what it is told: it is not told again, and refuses nothing."""
    tx.execute(update(desired).where(desired.c.device == device).values(tries=0, again_at=None, refusal_json=None))


def note_refusal(tx: Transaction, device: str, refusal: Refusal) -> None:
    """Note that a device does not act on what it is told, and why."""
    tx.execute(update(desired).where(desired.c.device == device).values(refusal_json=_refusal_json(refusal)))


def note_away(tx: Transaction, away: Iterable[str]) -> None:
    """Note that these devices are told nothing before they are heard of."""
    tx.execute(update(desired).where(desired.c.device.in_(sorted(away))).values(again_at=None))


def refusals(tx: Transaction, ids: Sequence[str]) -> dict[str, Refusal]:
    """Return why devices do not act on what they are told; those of which no refusal is known are missing."""
    query = select(desired.c.device, desired.c.refusal_json)
    rows = tx.execute(query.where(desired.c.device.in_(ids), desired.c.refusal_json.is_not(None)))
    return {device: msgspec.json.decode(text, type=Refusal) for device, text in rows}


def due(tx: Transaction, *, now: float, limit: int) -> dict[str, bool]:
    """Return the devices whose answer was waited for long enough, the longest first, and whether they are connected."""
    query = (
        select(desired.c.device, devices.c.online & devices.c.removed_at.is_(None))
        .join(devices, devices.c.id == desired.c.device)
        .where(desired.c.again_at <= now)
        .order_by(desired.c.again_at)
    )
    return {device: bool(online) for device, online in tx.execute(query.limit(limit))}


def badly_dated(tx: Transaction, *, before: float, after: float, limit: int) -> list[str]:
    """Return the devices, without those removed, whose `desired` expires before a time or after another one."""
    query = select(desired.c.device).join(devices, devices.c.id == desired.c.device)
    found = list[str]()
    for wrong in (desired.c.expires_at < before, desired.c.expires_at > after):
        live = query.where(wrong, devices.c.removed_at.is_(None)).order_by(desired.c.expires_at)
        found += tx.execute(live.limit(limit - len(found))).scalars()
    return found


def _read(row: Any) -> DesiredRecord:
    wanted = msgspec.json.decode(row.desired_json, type=Desired)
    return DesiredRecord(
        desired=wanted,
        unsent=row.unsent,
        content_hash=row.content_hash or wanted.content_hash(),
        sent_at=row.sent_at,
        tries=row.tries,
        again_at=row.again_at,
        refusal=msgspec.json.decode(row.refusal_json, type=Refusal) if row.refusal_json else None,
    )


def _refusal_json(refusal: Refusal | None) -> str | None:
    return None if refusal is None else msgspec.json.encode(refusal).decode()
