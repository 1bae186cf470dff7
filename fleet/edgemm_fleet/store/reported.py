"""The store's table of the newest report of each device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

from msgspec import convert
from sqlalchemy import bindparam, delete, select, update

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
    devices.c.id,
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
_RAISE = update(table).where(table.c.device == bindparam("d")).values(highest_generation=bindparam("highest"))


class ReportBatch:
    """The reports of some enrolled devices: what is here is read once, and the newest of each is written once.

    batch = ReportBatch(tx, ids, now=now)
    for report in reports:
        verdict = batch.hear(report)
    batch.write()
    """

    def __init__(self, tx: Transaction, ids: Collection[str], *, now: float) -> None:
        self._tx, self._now = tx, now
        query = select(*_ORDER).select_from(_BESIDE).where(listed(devices.c.id, sorted(ids)))
        self._known = {row.id: _Known.read(row) for row in tx.execute(query)} if ids else {}

    def hear(self, report: Reported) -> Verdict:
        """Take a report if it is newer than all before; tell whether it was.

        The highest generation is raised by an older report too: a new generation must lie above all of them. It is
        raised by those alone that a manager can have told a device: no number would be left above the others.
        """
        known = self._known[report.device]
        numbers = [report.generation, known.highest]
        known.highest = max(
            (n for n in numbers if isinstance(n, int) and plausible(n, last=0, now_s=self._now)), default=0
        )
        known.heard = True
        newest = following(known.newest, report, known.told)
        if newest is None:
            return Verdict.KNOWN if known.boot() == report.boot else Verdict.OLDER
        known.newest, known.report = newest, report
        return Verdict.NEWER

    def write(self) -> None:
        """Write what was taken.

        Raises:
            MessageError: a report could not be read back.
        """
        heard = {device: known for device, known in self._known.items() if known.heard}
        older = [{"d": device, "highest": known.highest} for device, known in heard.items() if known.report is None]
        if older:
            self._tx.execute(_RAISE, older)
        newer = {device: known for device, known in heard.items() if known.report is not None}
        portable.put(self._tx, table, [known.row(device, now=self._now) for device, known in newer.items()])
        for device in newer:
            quarantine(self._tx).clear(device, _PART)
        first, changed = dict[str, set[Fact]](), dict[str, tuple[set[Fact], set[Fact]]]()
        for device, known in newer.items():
            assert known.report is not None
            before, after = known.facts_before(), of_report(known.report)
            if before is None:
                first[device] = after
            elif before != after:
                changed[device] = (before, after)
        if first:
            device_facts.put_all(self._tx, first, REPORTED)
        device_facts.change_all(self._tx, changed)

    def newest(self) -> dict[str, ReportedRecord]:
        """Return the newest reports of those devices of which this batch brought it, as they were written."""
        return {
            device: ReportedRecord(
                reported=known.report,
                highest_generation=known.highest,
                told_generation=known.newest.told,
                received_at=self._now,
            )
            for device, known in self._known.items()
            if known.report is not None and known.newest is not None
        }


@dataclass
class _Known:
    """What is known of one device's reports."""

    newest: Newest | None
    highest: Any
    told: LastTold
    json: str | None
    """The newest report before this batch."""
    report: Reported | None = None
    """The newest one of this batch."""
    heard: bool = False

    @classmethod
    def read(cls, row: Any) -> Self:
        """Return what the database has."""
        numbers = (row.boot_count, row.sequence, row.told_generation, row.since_generation)
        return cls(
            newest=Newest(*numbers) if _is_number(*numbers) else None,
            highest=row.highest_generation,
            told=LastTold(row.generation, row.content_hash) if _is_number(row.generation) else LastTold(),
            json=row.reported_json,
        )

    def before(self) -> Reported | None:
        """Return the report that was here before; None: there was none, or none that can be read."""
        try:
            return None if self.json is None else json_text.read(self.json, Reported)
        except UNREADABLE:
            return None

    def boot(self) -> str | None:
        """Return which start the newest report is of."""
        newest = self.report or self.before()
        return None if newest is None else newest.boot

    def facts_before(self) -> set[Fact] | None:
        """Return the facts of the report that was here before, as far as there are any."""
        before = self.before()
        return None if before is None else of_report(before)

    def row(self, device: str, *, now: float) -> dict[str, Any]:
        """Return what is to be written."""
        assert self.newest is not None
        assert self.report is not None
        return {
            "device": device,
            "boot_count": self.newest.boot_count,
            "sequence": self.newest.sequence,
            "told_generation": self.newest.told,
            "since_generation": self.newest.since,
            "generation": self.report.generation,
            "highest_generation": self.highest,
            "reported_json": json_text.written(self.report),
            "received_at": now,
        }


def put(tx: Transaction, reported: Reported, *, now: float) -> Verdict:
    """Keep one report, as a `ReportBatch` does.

    Raises:
        MessageError: it could not be read back.
    """
    batch = ReportBatch(tx, [reported.device], now=now)
    verdict = batch.hear(reported)
    batch.write()
    return verdict


def forget(tx: Transaction, device: str) -> None:
    """Forget what a device reported, and every generation that it told of."""
    tx.execute(delete(table).where(table.c.device == device))
    quarantine(tx).clear(device, _PART)


def find(tx: Transaction, device: str) -> ReportedRecord | None:
    """Return a device's newest report; None where there is none, or none that can be read."""
    return of(tx, [device]).get(device)


def of(tx: Transaction, devices: Sequence[str]) -> dict[str, ReportedRecord]:
    """Return the newest reports of several devices; those without one that can be read are missing."""
    if not devices:
        return {}
    query = select(table).where(listed(table.c.device, devices))
    read = quarantine(tx).reader(_PART, _read, device=lambda row: str(row.device))
    return {row.device: found for row in tx.execute(query) if (found := read(row)) is not None}


def _read(row: Any) -> ReportedRecord:
    values = {"reported": json_text.read(row.reported_json, Reported)}
    values |= {"highest_generation": row.highest_generation, "received_at": row.received_at}
    values |= {"told_generation": row.told_generation}
    return convert(values, ReportedRecord)


def _is_number(*values: Any) -> bool:
    return all(isinstance(value, int) for value in values)
