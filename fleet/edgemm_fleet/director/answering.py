"""The answers to what devices say they act on: told again, told anew, or left alone for a while.

It is the shell around `standing`. Everything happens in the caller's transaction.
"""

from __future__ import annotations

from edgemm.messages import Event, Reported
from edgemm.reasons import Reason
from edgemm_fleet.director.director import Director
from edgemm_fleet.director.standing import (
    REFUSALS,
    Standing,
    may_answer,
    may_ask_for_proof,
    may_forget,
    refusal_in,
    same_refusal,
    standing,
    unproven_refusal,
)
from edgemm_fleet.records.records import DesiredRecord, DesiredRefusal, ReportedRecord
from edgemm_fleet.store import Transaction, desired, reported

_AT_ONCE = 500


class Answering:
    """Answers devices; each method tells whether it found that a device refuses, or no longer does."""

    def __init__(self, director: Director) -> None:
        self._director = director

    def heard(
        self,
        tx: Transaction,
        device: str,
        *,
        now: float,
        connected: bool = False,
        unproven: Reported | None = None,
    ) -> bool:
        """Look at what a device says that it acts on; `connected`: it has just come.

        `unproven`: what it said last, where its newest report has higher numbers and so is another one.
        """
        current, report = desired.find(tx, device), reported.find(tx, device)
        if current is None:
            return False
        if unproven is not None:
            return self._ask_for_proof(tx, unproven, current, report, connected=connected, now=now)
        found = _standing(current, report, now=now)
        refusal = refusal_in(current, report.reported if report else None, found, now=now)
        if found is Standing.ANSWERED and refusal is None:
            forget = may_forget(current, now=now)
            if current.refusal is not None or (forget and (current.tries or current.again_at is not None)):
                desired.note_answered(tx, device, forget=forget)
            return current.refusal is not None
        changed = refusal is not None and not same_refusal(refusal, current.refusal)
        if refusal is not None and changed:
            desired.note_refusal(tx, device, refusal)
        if may_answer(current, found, connected=connected, now=now):
            self._tell(tx, device, current, found, now=now)
        return changed

    def refused(self, tx: Transaction, event: Event, *, now: float) -> bool:
        """Look at an event by which a device tells of a refusal: those of earlier versions say it in no report."""
        current, report = desired.find(tx, event.device), reported.find(tx, event.device)
        if event.cause not in REFUSALS or current is None:
            return False
        found = _standing(current, report, now=now)
        if found is Standing.ANSWERED and event.cause == Reason.DESIRED_CONFLICT and _tells_no_hash(report):
            found = Standing.BEYOND
        if found is Standing.ANSWERED:
            return False
        if found is Standing.BEYOND and may_answer(current, found, connected=False, now=now):
            self._tell(tx, event.device, current, found, now=now)
            return False
        if current.refusal is not None:
            return False
        told = DesiredRefusal(cause=event.cause, generation=current.desired.generation, detail=event.detail, at=now)
        desired.note_refusal(tx, event.device, told)
        return True

    def again(self, tx: Transaction, *, now: float) -> None:
        """Tell those again whose answer was waited for long enough; those that are away when they are back."""
        found = desired.due(tx, now=now, limit=_AT_ONCE)
        desired.note_away(tx, [device for device, online in found.items() if not online])
        for device, online in found.items():
            if online:
                self.heard(tx, device, now=now)

    def _ask_for_proof(
        self,
        tx: Transaction,
        said: Reported,
        current: DesiredRecord,
        newest: ReportedRecord | None,
        *,
        connected: bool,
        now: float,
    ) -> bool:
        """Have a device told what it can echo only now; where it was told that already, perhaps once more."""
        device, told = said.device, current.desired.generation
        if _too_large(current):
            return False
        if newest is None or newest.told_generation == told or said.generation >= told:
            if not may_ask_for_proof(current, now=now):
                return False
            told = self._director.write(tx, [device], now=now, anew=[device]).get(device, told)
        elif may_answer(current, Standing.BEHIND, connected=connected, now=now):
            desired.mark_unsent(tx, [device])
        noted, refusal = desired.refusals(tx, [device]).get(device), unproven_refusal(said, newest, told=told, now=now)
        if same_refusal(refusal, noted):
            return False
        desired.note_refusal(tx, device, refusal)
        return True

    def _tell(self, tx: Transaction, device: str, current: DesiredRecord, found: Standing, *, now: float) -> None:
        self._director.write(tx, [device], now=now, anew=[device] if found is Standing.BEYOND else [])
        if found is not Standing.BEYOND and not _too_large(current):
            desired.mark_unsent(tx, [device])


def _standing(current: DesiredRecord, report: ReportedRecord | None, *, now: float) -> Standing:
    highest = report.highest_generation if report is not None else 0
    return standing(current, report.reported if report else None, highest_reported=highest, now=now)


def _tells_no_hash(report: ReportedRecord | None) -> bool:
    return report is not None and not report.reported.desired_hash


def _too_large(record: DesiredRecord) -> bool:
    return record.refusal is not None and record.refusal.cause == Reason.DESIRED_TOO_LARGE
