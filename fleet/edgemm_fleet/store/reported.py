"""The store's table of the newest report of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from edgemm.messages import Reported
from edgemm.messages.generations import plausible
from edgemm_fleet.records.records import ReportedRecord
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import reported as table


def put(tx: Transaction, reported: Reported, *, now: float) -> bool:
    """Keep a report if it is newer than the one that is here; tell whether it was.

    The highest generation is raised by an older report too: a new generation must lie above all of them that are
    believed.
    """
    found = find(tx, reported.device)
    believed = reported.generation if plausible(reported.generation, last=0, now_s=now) else 0
    highest = max(believed, found.highest_generation if found else 0)
    if found is not None and reported.order <= found.reported.order:
        tx.execute(update(table).where(table.c.device == reported.device).values(highest_generation=highest))
        return False
    values = {
        "device": reported.device,
        "boot_count": reported.boot_count,
        "sequence": reported.sequence,
        "generation": reported.generation,
        "highest_generation": highest,
        "reported_json": msgspec.json.encode(reported).decode(),
        "received_at": now,
    }
    tx.execute(insert(table).values(**values).on_conflict_do_update(index_elements=["device"], set_=values))
    return True


def find(tx: Transaction, device: str) -> ReportedRecord | None:
    """Return a device's newest report, or None."""
    row = tx.execute(select(table).where(table.c.device == device)).one_or_none()
    return None if row is None else _read(row)


def of(tx: Transaction, devices: Sequence[str]) -> dict[str, ReportedRecord]:
    """Return the newest reports of several devices; those without one are missing."""
    query = select(table).where(table.c.device.in_(devices))
    return {row.device: _read(row) for row in tx.execute(query)}


def _read(row: Any) -> ReportedRecord:
    return ReportedRecord(
        reported=msgspec.json.decode(row.reported_json, type=Reported),
        highest_generation=row.highest_generation,
        received_at=row.received_at,
    )
