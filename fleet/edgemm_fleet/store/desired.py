"""The store's table of each device's composed `desired`, with its outbox.

`edgemm_fleet.director` composes it from the device's assignments. A row stays `unsent` until the broker has it, so that
a killed manager sends it after its restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from edgemm import times
from edgemm.messages import Desired
from edgemm_fleet.records.records import DesiredRecord
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import desired, devices, reported


def find(tx: Transaction, device: str) -> DesiredRecord | None:
    """Return what a device was told last, or is about to be told."""
    row = tx.execute(select(desired).where(desired.c.device == device)).one_or_none()
    return None if row is None else _read(row)


def of(tx: Transaction, ids: Sequence[str]) -> dict[str, DesiredRecord]:
    """Return what several devices were told last; those never told anything are missing."""
    query = select(desired).where(desired.c.device.in_(ids))
    return {row.device: _read(row) for row in tx.execute(query)}


def put(tx: Transaction, wanted: Sequence[Desired]) -> None:
    """Make each of these its device's `desired`, to be sent."""
    if not wanted:
        return
    rows = [
        {
            "device": one.device,
            "generation": one.generation,
            "desired_json": msgspec.json.encode(one).decode(),
            "expires_at": float(times.from_text(one.expires)),
            "unsent": True,
        }
        for one in wanted
    ]
    query = insert(desired)
    changed = {name: query.excluded[name] for name in rows[0] if name != "device"}
    tx.execute(query.on_conflict_do_update(index_elements=["device"], set_=changed), rows)


def unsent(tx: Transaction, *, limit: int) -> list[Desired]:
    """Return what the broker has yet to be told, at most `limit` of it."""
    joined = select(desired).join(devices, devices.c.id == desired.c.device).where(devices.c.removed_at.is_(None))
    query = joined.where(desired.c.unsent).order_by(desired.c.device).limit(limit)
    return [_read(row).desired for row in tx.execute(query)]


def mark_sent(tx: Transaction, sent: Iterable[Desired], *, now: float) -> None:
    """Note that the broker has these; one that changed meanwhile stays unsent."""
    rows = [{"d": w.device, "g": w.generation, "e": float(times.from_text(w.expires))} for w in sent]
    if rows:
        same = (desired.c.generation == bindparam("g")) & (desired.c.expires_at == bindparam("e"))
        changed = update(desired).where(desired.c.device == bindparam("d"), same).values(unsent=False, sent_at=now)
        tx.execute(changed, rows)


def mark_unsent(tx: Transaction, devices_to_tell: Iterable[str]) -> None:
    """Have these devices told again, as after a report of another generation."""
    wanted = sorted(set(devices_to_tell))
    if wanted:
        tx.execute(update(desired).where(desired.c.device.in_(wanted)).values(unsent=True))


def unanswered(tx: Transaction, *, sent_before: float, limit: int) -> list[str]:
    """Return connected devices that were told before a time and have not reported that generation since."""
    query = (
        select(desired.c.device)
        .join(devices, devices.c.id == desired.c.device)
        .outerjoin(reported, reported.c.device == desired.c.device)
        .where(
            devices.c.online,
            devices.c.removed_at.is_(None),
            desired.c.unsent.is_(False),
            desired.c.sent_at < sent_before,
            func.coalesce(reported.c.generation, 0) != desired.c.generation,
        )
    )
    return list(tx.execute(query.limit(limit)).scalars())


def expiring(tx: Transaction, *, before: float, limit: int) -> list[str]:
    """Return the devices, without those removed, whose `desired` expires before a time, the earliest first."""
    query = (
        select(desired.c.device)
        .join(devices, devices.c.id == desired.c.device)
        .where(desired.c.expires_at < before, devices.c.removed_at.is_(None))
        .order_by(desired.c.expires_at)
    )
    return list(tx.execute(query.limit(limit)).scalars())


def _read(row: Any) -> DesiredRecord:
    return DesiredRecord(desired=msgspec.json.decode(row.desired_json, type=Desired), unsent=row.unsent)
