"""The store's table of assignments: what the fleet wants of each device, by model, and the attempts made.

An attempt is spent when it failed on the device or was taken back. The next one then gets a higher number. A device
never tries a failed attempt again, and its last report of an ended attempt must not pass for the end of the next one.

All functions take many devices at once, since a group starts, or halts, for all its devices in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select

from edgemm.messages import DesiredModel
from edgemm_fleet.records import json_text
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import assignments, attempts
from edgemm_fleet.store.schema import devices as enrolled

_PART = "assignment of "
_MOST_ATTEMPTS = 2**52
"""No fleet makes so many; above it there would soon be no number left for the next one."""


def of(
    tx: Transaction, devices: Sequence[str], *, incomplete: set[str] | None = None
) -> dict[str, dict[str, DesiredModel]]:
    """Return device → model name → what is wanted of it; devices of which nothing is wanted are missing.

    What cannot be read is missing as well; `incomplete` gets the devices of which that is so: to tell one the rest
    would be to stop a model there.
    """
    unreadable = quarantine(tx)
    query = select(assignments).where(listed(assignments.c.device, devices))
    found: dict[str, dict[str, DesiredModel]] = {}
    for row in tx.execute(query.order_by(assignments.c.device, assignments.c.model)):
        read = unreadable.reader(f"{_PART}{row.model}", _read, device=lambda row: str(row.device))
        if (model := read(row)) is not None:
            found.setdefault(row.device, {})[row.model] = model
        elif incomplete is not None:
            incomplete.add(row.device)
    return found


def told(tx: Transaction, model: str, digests: Collection[str], after: str, limit: int) -> tuple[list[str], str | None]:
    """Return enrolled devices of which a version of a model is wanted, by id: of the next ones behind `after`.

    So many at most that have the model are looked at; the second is the last of them, None: there are no more.
    """
    live = select(enrolled.c.id).where(enrolled.c.removed_at.is_(None), enrolled.c.id == assignments.c.device).exists()
    query = select(assignments).where(assignments.c.model == model, assignments.c.device > after, live)
    rows = tx.execute(query.order_by(assignments.c.device).limit(limit)).all()
    read = quarantine(tx).reader(f"{_PART}{model}", _read, device=lambda row: str(row.device))
    found = [row.device for row in rows if (one := read(row)) is not None and one.digest in digests]
    return found, rows[-1].device if len(rows) == limit else None


def assign(tx: Transaction, wanted: Mapping[str, DesiredModel]) -> None:
    """Want this of one model on each device; attempts that were not given before are noted."""
    if not wanted:
        return
    rows = [
        {"device": device, "model": model.name, "desired_json": json_text.written(model)}
        for device, model in wanted.items()
    ]
    portable.put(tx, assignments, rows)
    for device, model in wanted.items():
        quarantine(tx).clear(device, f"{_PART}{model.name}")
    given = [
        {"device": device, "model": model.name, "digest": model.digest, "attempt": model.attempt, "spent": False}
        for device, model in wanted.items()
    ]
    portable.put(tx, attempts, given, only=lambda new: attempts.c.attempt < new.attempt)


def unassign(tx: Transaction, devices: Iterable[str], model: str) -> None:
    """Want this model no longer on these devices."""
    ids = sorted(devices)
    tx.execute(delete(assignments).where(listed(assignments.c.device, ids), assignments.c.model == model))
    for device in ids:
        quarantine(tx).clear(device, f"{_PART}{model}")


def next_attempts(tx: Transaction, digests: Mapping[str, str], *, model: str) -> dict[str, int]:
    """Return device → the attempt to give for its digest (device → digest)."""
    query = select(attempts).where(listed(attempts.c.device, sorted(digests)), attempts.c.model == model)
    result = dict.fromkeys(digests, 1)
    for row in tx.execute(query):
        if digests[row.device] != row.digest:
            continue
        if not isinstance(row.attempt, int) or not 0 < row.attempt < _MOST_ATTEMPTS:
            quarantine(tx).note(row.device, f"attempts at {model}", f"attempt {row.attempt!r:.40}")
            continue
        result[row.device] = row.attempt + 1 if row.spent else row.attempt
    return result


def spend(tx: Transaction, spent: Mapping[str, int], *, model: str, digest: str) -> None:
    """Note that the attempt of each device (device → attempt) failed there, or was taken back."""
    if not spent:
        return
    rows = [
        {"device": device, "model": model, "digest": digest, "attempt": attempt, "spent": True}
        for device, attempt in spent.items()
    ]
    portable.put(tx, attempts, rows, only=lambda new: attempts.c.attempt <= new.attempt)


def _read(row: Any) -> DesiredModel:
    found: DesiredModel = json_text.read(row.desired_json, DesiredModel)
    return found
