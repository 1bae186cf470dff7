"""What the fleet wants of each device: assignments per model, and the composed `desired` with its outbox.

An assignment is one model's entry; `edgemm_fleet.director` composes all of a device's assignments into the next
`desired`. A row stays `unsent` until the broker has it, so that a killed manager sends it after its restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from edgemm import times
from edgemm.messages import Desired, DesiredModel
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.records import DesiredRecord
from edgemm_fleet.store.schema import assignments, attempts, desired, devices, reported


def assigned(tx: Transaction, device: str) -> dict[str, DesiredModel]:
    """Return model name → what the fleet wants of it on this device, by name."""
    query = select(assignments).where(assignments.c.device == device).order_by(assignments.c.model)
    return {row.model: msgspec.json.decode(row.desired_json, type=DesiredModel) for row in tx.execute(query)}


def assign(tx: Transaction, device: str, model: DesiredModel) -> None:
    """Want this of one model on one device; the next composed `desired` says so."""
    text = msgspec.json.encode(model).decode()
    query = insert(assignments).values(device=device, model=model.name, desired_json=text)
    tx.execute(query.on_conflict_do_update(index_elements=["device", "model"], set_={"desired_json": text}))
    high = insert(attempts).values(device=device, model=model.name, digest=model.digest, attempt=model.attempt)
    tx.execute(
        high.on_conflict_do_update(
            index_elements=["device", "model", "digest"],
            set_={"attempt": high.excluded.attempt, "spent": False},
            where=attempts.c.attempt < high.excluded.attempt,
        )
    )


def unassign(tx: Transaction, device: str, model: str) -> None:
    """Want this model no longer on the device."""
    tx.execute(delete(assignments).where(assignments.c.device == device, assignments.c.model == model))


def next_attempt(tx: Transaction, device: str, *, model: str, digest: str) -> int:
    """Return the attempt to give: a higher one only where the last one ended without success.

    A device remembers failures by it; and what it last said of an ended attempt must not pass for the next one's end.
    """
    query = select(attempts.c.attempt, attempts.c.spent).where(
        attempts.c.device == device, attempts.c.model == model, attempts.c.digest == digest
    )
    row = tx.execute(query).one_or_none()
    if row is None:
        return 1
    return int(row.attempt) + 1 if row.spent else int(row.attempt)


def spend_attempt(tx: Transaction, device: str, *, model: str, digest: str, attempt: int) -> None:
    """Note that this attempt failed on a device, or was taken back from it."""
    query = insert(attempts).values(device=device, model=model, digest=digest, attempt=attempt, spent=True)
    tx.execute(
        query.on_conflict_do_update(
            index_elements=["device", "model", "digest"],
            set_={"attempt": query.excluded.attempt, "spent": True},
            where=attempts.c.attempt <= query.excluded.attempt,
        )
    )


def find(tx: Transaction, device: str) -> DesiredRecord | None:
    """Return what a device was told last, or is about to be told."""
    row = tx.execute(select(desired).where(desired.c.device == device)).one_or_none()
    return None if row is None else _read(row)


def put(tx: Transaction, wanted: Desired) -> None:
    """Make this the device's `desired`, to be sent."""
    values = {
        "device": wanted.device,
        "generation": wanted.generation,
        "desired_json": msgspec.json.encode(wanted).decode(),
        "expires_at": float(times.from_text(wanted.expires)),
        "unsent": True,
    }
    tx.execute(insert(desired).values(**values).on_conflict_do_update(index_elements=["device"], set_=values))


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
