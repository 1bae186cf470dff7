"""The store's table of the newest report of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import convert
from sqlalchemy import delete, select, update

from edgemm.messages import Reported
from edgemm.messages.generations import plausible
from edgemm_fleet.filters.known_facts import REPORTED, Fact, of_report
from edgemm_fleet.records import json_text
from edgemm_fleet.records.records import ReportedRecord
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.facts import device_facts
from edgemm_fleet.store.quarantine import UNREADABLE, quarantine
from edgemm_fleet.store.schema import reported as table

_PART = "reported"


def put(tx: Transaction, reported: Reported, *, now: float) -> bool:
    """Keep a report if it is newer than the one that is here; tell whether it was.

    The highest generation is raised by an older report too: a new generation must lie above all of them. It is raised
    by those alone that a manager can have told a device: no number would be left above the others.

    Raises:
        MessageError: it could not be read back.
    """
    columns = (table.c.boot_count, table.c.sequence, table.c.highest_generation, table.c.reported_json)
    row = tx.execute(select(*columns).where(table.c.device == reported.device)).one_or_none()
    numbers = [reported.generation, row.highest_generation if row else 0]
    highest = max((n for n in numbers if isinstance(n, int) and plausible(n, last=0, now_s=now)), default=0)
    if (
        row is not None
        and _is_number(row.boot_count, row.sequence)
        and reported.order <= (row.boot_count, row.sequence)
    ):
        tx.execute(update(table).where(table.c.device == reported.device).values(highest_generation=highest))
        return False
    values = {
        "device": reported.device,
        "boot_count": reported.boot_count,
        "sequence": reported.sequence,
        "generation": reported.generation,
        "highest_generation": highest,
        "reported_json": json_text.written(reported),
        "received_at": now,
    }
    portable.put(tx, table, [values])
    quarantine(tx).clear(reported.device, _PART)
    if (told := of_report(reported)) != _facts_before(row):
        device_facts.put(tx, reported.device, REPORTED, told)
    return True


def forget(tx: Transaction, device: str) -> None:
    """Forget what a device reported, and every generation that it told of."""
    tx.execute(delete(table).where(table.c.device == device))
    quarantine(tx).clear(device, _PART)


def find(tx: Transaction, device: str) -> ReportedRecord | None:
    """Return a device's newest report; None where there is none, or none that can be read."""
    return of(tx, [device]).get(device)


def of(tx: Transaction, devices: Sequence[str]) -> dict[str, ReportedRecord]:
    """Return the newest reports of several devices; those without one that can be read are missing."""
    query = select(table).where(listed(table.c.device, devices))
    read = quarantine(tx).reader(_PART, _read, device=lambda row: str(row.device))
    return {row.device: found for row in tx.execute(query) if (found := read(row)) is not None}


def _read(row: Any) -> ReportedRecord:
    values = {"reported": json_text.read(row.reported_json, Reported)}
    values |= {"highest_generation": row.highest_generation, "received_at": row.received_at}
    return convert(values, ReportedRecord)


def _facts_before(row: Any) -> set[Fact] | None:
    """Return the facts of the report that was here; None: there was none, or none that can be read."""
    try:
        return None if row is None else of_report(json_text.read(row.reported_json, Reported))
    except UNREADABLE:
        return None


def _is_number(*values: Any) -> bool:
    return all(isinstance(value, int) for value in values)
