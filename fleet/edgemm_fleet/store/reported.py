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
from edgemm_fleet.records.report_order import LastTold, Newest, Verdict, following
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.facts import device_facts
from edgemm_fleet.store.quarantine import UNREADABLE, quarantine
from edgemm_fleet.store.schema import desired, devices
from edgemm_fleet.store.schema import reported as table

_PART = "reported"


_ORDER = (
    table.c.boot_count,
    table.c.sequence,
    table.c.told_generation,
    table.c.since_generation,
    table.c.highest_generation,
    table.c.reported_json,
    desired.c.generation,
    desired.c.content_hash,
)
_BESIDE = devices.outerjoin(table, table.c.device == devices.c.id).outerjoin(desired, desired.c.device == devices.c.id)


def put(tx: Transaction, reported: Reported, *, now: float) -> Verdict:
    """Keep a report of an enrolled device if it is newer than the one that is here; tell whether it was.

    The highest generation is raised by an older report too: a new generation must lie above all of them. It is raised
    by those alone that a manager can have told a device: no number would be left above the others.

    Raises:
        MessageError: it could not be read back.
    """
    row = tx.execute(select(*_ORDER).select_from(_BESIDE).where(devices.c.id == reported.device)).one()
    numbers = [reported.generation, row.highest_generation]
    highest = max((n for n in numbers if isinstance(n, int) and plausible(n, last=0, now_s=now)), default=0)
    before = Newest(*row[:4]) if _is_number(*row[:4]) else None
    newest = following(
        before, reported, LastTold(row.generation, row.content_hash) if _is_number(row.generation) else LastTold()
    )
    if newest is None:
        tx.execute(update(table).where(table.c.device == reported.device).values(highest_generation=highest))
        return Verdict.KNOWN if _of_same_start(tx, reported) else Verdict.OLDER
    values = {
        "device": reported.device,
        "boot_count": newest.boot_count,
        "sequence": newest.sequence,
        "told_generation": newest.told,
        "since_generation": newest.since,
        "generation": reported.generation,
        "highest_generation": highest,
        "reported_json": json_text.written(reported),
        "received_at": now,
    }
    portable.put(tx, table, [values])
    quarantine(tx).clear(reported.device, _PART)
    if (told := of_report(reported)) != _facts_before(row):
        device_facts.put(tx, reported.device, REPORTED, told)
    return Verdict.NEWER


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
    values |= {"told_generation": row.told_generation}
    return convert(values, ReportedRecord)


def _facts_before(row: Any) -> set[Fact] | None:
    """Return the facts of the report that was here; None: there was none, or none that can be read."""
    try:
        return None if row.reported_json is None else of_report(json_text.read(row.reported_json, Reported))
    except UNREADABLE:
        return None


def _of_same_start(tx: Transaction, report: Reported) -> bool:
    newest = find(tx, report.device)
    return newest is not None and newest.reported.boot == report.boot


def _is_number(*values: Any) -> bool:
    return all(isinstance(value, int) for value in values)
