"""The store's table of each device's composed `desired`, with its outbox.

`edgemm_fleet.director` composes it from the device's assignments. A row stays `unsent` until the broker has it, so that
a killed manager sends it after its restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import convert
from sqlalchemy import bindparam, select, text, update

from edgemm import times
from edgemm.errors import MessageError
from edgemm.messages import Desired
from edgemm.transport.backoff import Backoff
from edgemm_fleet.records import json_text
from edgemm_fleet.records.records import DesiredRecord, DesiredRefusal
from edgemm_fleet.store.database import Transaction, count_up_to
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import desired, devices

FIRST_PAUSE_S = 30.0
"""For how long an answer is waited for at first."""
LONGEST_PAUSE_S = 3600.0
"""For how long at most, before a `desired` is sent again."""

_PART = "desired"
_UNSENT = text("desired.unsent")
"""In these very words, by which SQLite finds the index of what is unsent; of `unsent = 1` it reads every row."""


def find(tx: Transaction, device: str) -> DesiredRecord | None:
    """Return what a device was told last, or is about to be told; None too where that cannot be read."""
    return of(tx, [device]).get(device)


def of(tx: Transaction, ids: Sequence[str]) -> dict[str, DesiredRecord]:
    """Return what several devices were told last; those never told anything readable are missing."""
    if not ids:
        return {}
    query = select(desired).where(listed(desired.c.device, ids))
    read = quarantine(tx).reader(_PART, _read, device=_device)
    return {row.device: found for row in tx.execute(query) if (found := read(row)) is not None}


def put(tx: Transaction, wanted: Sequence[DesiredRecord]) -> frozenset[str]:
    """Make each of these its device's `desired`; return the devices whose one could not be read back.

    Those keep what they had, and are named in the quarantine.
    """
    rows, refused = [], set()
    for one in wanted:
        try:
            rows.append(_row(one))
        except (MessageError, ValueError) as err:
            quarantine(tx).note(one.desired.device, _PART, err)
            refused.add(one.desired.device)
    portable.put(tx, desired, rows)
    for row in rows:
        quarantine(tx).clear(row["device"], _PART)
    return frozenset(refused)


def unsent(tx: Transaction, *, limit: int) -> list[Desired]:
    """Return what the broker has yet to be told, at most `limit` of it; what cannot be read is passed over."""
    return [found.desired for found in of(tx, unsent_devices(tx, limit=limit)).values()]


def waiting(tx: Transaction, *, most: int) -> int:
    """Return for how many devices the broker has yet to be given something, `most` if they are more."""
    return count_up_to(tx, select(desired.c.device).where(_UNSENT), most=most)


def refusing(tx: Transaction, *, most: int) -> int:
    """Return how many devices do not act on what they are told, `most` if they are more."""
    return count_up_to(tx, select(desired.c.device).where(desired.c.refusal_json.is_not(None)), most=most)


def unsent_devices(tx: Transaction, *, limit: int, after: str = "") -> list[str]:
    """Return the devices that the broker has yet to be given something for, by id, those behind `after`."""
    joined = select(desired.c.device).join(devices, devices.c.id == desired.c.device)
    waiting = joined.where(devices.c.removed_at.is_(None), _UNSENT, desired.c.device > after)
    return list(tx.execute(waiting.order_by(desired.c.device).limit(limit)).scalars())


def mark_sent(tx: Transaction, sent: Iterable[Desired], *, now: float, first_pause_s: float = FIRST_PAUSE_S) -> None:
    """Note that the broker has these; one that changed meanwhile stays unsent.

    Without an answer each is sent again after a pause, which doubles each time (`due`).
    """
    told = list(sent)
    query = select(desired.c.device, desired.c.tries).where(listed(desired.c.device, [one.device for one in told]))
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
    return Backoff(first_s, LONGEST_PAUSE_S).ceiling_s(tries)


def mark_unsent(tx: Transaction, devices_to_tell: Iterable[str]) -> None:
    """Have these devices told again, as after a report of another generation."""
    wanted = sorted(set(devices_to_tell))
    if wanted:
        tx.execute(update(desired).where(listed(desired.c.device, wanted)).values(unsent=True))


def told_after(tx: Transaction, device: str, *, limit: int) -> list[str]:
    """Return devices that were ever told something, by id, those after `device`."""
    query = select(desired.c.device).where(desired.c.device > device).order_by(desired.c.device)
    return list(tx.execute(query.limit(limit)).scalars())


def note_answered(tx: Transaction, device: str, *, forget: bool) -> None:
    """Note that a device acts on what it is told and refuses nothing; `forget` how often it was told, too."""
    values: dict[str, Any] = {"refusal_json": None} | ({"tries": 0, "again_at": None} if forget else {})
    tx.execute(update(desired).where(desired.c.device == device).values(**values))


def forget_answers(tx: Transaction, device: str) -> None:
    """Forget how a device took what it was told, and have it told again; the generation stays the last one."""
    values = {"unsent": True, "tries": 0, "again_at": None, "refusal_json": None}
    tx.execute(update(desired).where(desired.c.device == device).values(**values))


def note_refusal(tx: Transaction, device: str, refusal: DesiredRefusal) -> None:
    """Note that a device does not act on what it is told, and why."""
    tx.execute(update(desired).where(desired.c.device == device).values(refusal_json=_refusal_json(refusal)))


def note_away(tx: Transaction, away: Iterable[str]) -> None:
    """Note that these devices are told nothing before they are heard of."""
    tx.execute(update(desired).where(listed(desired.c.device, sorted(away))).values(again_at=None))


def refusals(tx: Transaction, ids: Sequence[str]) -> dict[str, DesiredRefusal]:
    """Return why devices do not act on what they are told; those of which no refusal is known are missing."""
    refused = desired.c.refusal_json.is_not(None)
    few = list(tx.execute(select(desired.c.device).where(listed(desired.c.device, ids), refused)).scalars())
    found = of(tx, few) if few else {}
    return {device: record.refusal for device, record in found.items() if record.refusal is not None}


def due(tx: Transaction, *, now: float, limit: int) -> dict[str, bool]:
    """Return the devices whose answer was waited for long enough, the longest first, and whether they are connected.

    A pause that ends later than any was noted by a clock that was ahead, and is over.
    """
    query = (
        select(desired.c.device, devices.c.online & devices.c.removed_at.is_(None))
        .join(devices, devices.c.id == desired.c.device)
        .where((desired.c.again_at <= now) | (desired.c.again_at > now + LONGEST_PAUSE_S))
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


def ask_doubted(tx: Transaction, *, doubted_before: float, sent_before: float) -> None:
    """Have devices told again what they know, to which they answer with a report: those whose presence is in doubt."""
    whom = select(devices.c.id).where(devices.c.doubted_at < doubted_before, devices.c.boot.is_not(None))
    due = desired.c.device.in_(whom) & desired.c.unsent.is_(False) & (desired.c.sent_at < sent_before)
    tx.execute(update(desired).where(due).values(unsent=True))


def _row(one: DesiredRecord) -> dict[str, Any]:
    wanted = one.desired
    return {
        "device": wanted.device,
        "generation": wanted.generation,
        "desired_json": json_text.written(wanted),
        "expires_at": float(times.from_text(wanted.expires)),
        "unsent": one.unsent,
        "content_hash": one.content_hash,
        "tries": one.tries,
        "again_at": one.again_at,
        "refusal_json": _refusal_json(one.refusal),
    }


def _read(row: Any) -> DesiredRecord:
    wanted = json_text.read(row.desired_json, Desired)
    times.from_text(wanted.expires)  # a pattern alone lets a 31st of February pass
    times.from_text(wanted.not_before)
    values = {
        "desired": wanted,
        "unsent": row.unsent,
        "content_hash": row.content_hash or wanted.content_hash(),
        "sent_at": row.sent_at,
        "tries": row.tries,
        "again_at": row.again_at,
        "refusal": json_text.read(row.refusal_json, DesiredRefusal) if row.refusal_json else None,
    }
    return convert(values, DesiredRecord)


def _refusal_json(refusal: DesiredRefusal | None) -> str | None:
    return None if refusal is None else json_text.written(refusal)


def _device(row: Any) -> str:
    return str(row.device)
