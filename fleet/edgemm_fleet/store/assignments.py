"""The store's table of assignments: what the fleet wants of each device, by model, and the attempts made.

An attempt is spent when it failed on the device or was taken back. The next one then gets a higher number. A device
never tries a failed attempt again, and its last report of an ended attempt must not pass for the end of the next one.

All functions take many devices at once, since a group starts, or halts, for all its devices in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from edgemm.messages import DesiredModel
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import assignments, attempts


def of(tx: Transaction, devices: Sequence[str]) -> dict[str, dict[str, DesiredModel]]:
    """Return device → model name → what is wanted of it; devices of which nothing is wanted are missing."""
    query = select(assignments).where(assignments.c.device.in_(devices))
    found: dict[str, dict[str, DesiredModel]] = {}
    for row in tx.execute(query.order_by(assignments.c.device, assignments.c.model)):
        found.setdefault(row.device, {})[row.model] = msgspec.json.decode(row.desired_json, type=DesiredModel)
    return found


def assign(tx: Transaction, wanted: Mapping[str, DesiredModel]) -> None:
    """Want this of one model on each device; attempts that were not given before are noted."""
    if not wanted:
        return
    rows = [
        {"device": device, "model": model.name, "desired_json": msgspec.json.encode(model).decode()}
        for device, model in wanted.items()
    ]
    query = insert(assignments)
    changed = {"desired_json": query.excluded.desired_json}
    tx.execute(query.on_conflict_do_update(index_elements=["device", "model"], set_=changed), rows)
    given = [
        {"device": device, "model": model.name, "digest": model.digest, "attempt": model.attempt, "spent": False}
        for device, model in wanted.items()
    ]
    high = insert(attempts)
    above = high.on_conflict_do_update(
        index_elements=["device", "model", "digest"],
        set_={"attempt": high.excluded.attempt, "spent": False},
        where=attempts.c.attempt < high.excluded.attempt,
    )
    tx.execute(above, given)


def unassign(tx: Transaction, devices: Iterable[str], model: str) -> None:
    """Want this model no longer on these devices."""
    tx.execute(delete(assignments).where(assignments.c.device.in_(sorted(devices)), assignments.c.model == model))


def next_attempts(tx: Transaction, digests: Mapping[str, str], *, model: str) -> dict[str, int]:
    """Return device → the attempt to give for its digest (device → digest)."""
    query = select(attempts).where(attempts.c.device.in_(sorted(digests)), attempts.c.model == model)
    result = dict.fromkeys(digests, 1)
    for row in tx.execute(query):
        if digests[row.device] == row.digest:
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
    query = insert(attempts)
    up_to = query.on_conflict_do_update(
        index_elements=["device", "model", "digest"],
        set_={"attempt": query.excluded.attempt, "spent": True},
        where=attempts.c.attempt <= query.excluded.attempt,
    )
    tx.execute(up_to, rows)
