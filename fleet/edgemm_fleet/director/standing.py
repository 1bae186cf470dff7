"""The standing of a device beside what it is told, by its newest report, and the time when it is told again. Pure.

An answer to a report draws a report. So a device that does not act on what it is told is told again after pauses that
double, and only a new generation is sent at once. A device that has just connected, or holds what this manager never
wrote, is answered at once too, as long as that has not been for nothing several times.
"""

from __future__ import annotations

from enum import Enum

from msgspec import UNSET

from edgemm.messages import Reported
from edgemm.messages.generations import plausible, time_of
from edgemm.reasons import Reason
from edgemm_fleet.records.records import DesiredRecord, DesiredRefusal, ReportedRecord

_TRIES_AT_ONCE = 5
"""How often a device that connects, or holds other things, is answered without a pause."""
_PAUSE_S = 60.0
"""After that many, how long a device that connects waits at most."""

REFUSALS = frozenset(
    {
        Reason.DESIRED_CONFLICT,
        Reason.DESIRED_FOREIGN,
        Reason.DESIRED_EXPIRED,
        Reason.DESIRED_TOO_EARLY,
        Reason.DESIRED_UNTRUSTED,
        Reason.DESIRED_IMPLAUSIBLE,
    }
)
"""Causes of events by which a device tells of a refusal."""


class Standing(Enum):
    """What a device acts on, beside what it is told."""

    ANSWERED = "answered"
    """It acts on what it is told."""
    BEHIND = "behind"
    """It has not heard of it, or refuses it."""
    BEYOND = "beyond"
    """It holds what this manager never wrote: a higher generation, or other content under the same one."""
    UNBELIEVABLE = "unbelievable"
    """It reports a generation that no manager can have written."""


def standing(current: DesiredRecord, report: Reported | None, *, highest_reported: int, now: float) -> Standing:
    """Tell where a device stands; `highest_reported` is the highest generation of all its reports."""
    told = current.desired.generation
    said = report.generation if report is not None else 0
    if said > told:
        return Standing.BEYOND if plausible(said, last=told, now_s=now) else Standing.UNBELIEVABLE
    if report is not None and said == told:
        return Standing.ANSWERED if report.desired_hash in {UNSET, current.content_hash} else Standing.BEYOND
    beyond = highest_reported > told and plausible(highest_reported, last=told, now_s=now)
    return Standing.BEYOND if beyond else Standing.BEHIND


def may_answer(current: DesiredRecord, found: Standing, *, connected: bool, now: float) -> bool:
    """Tell whether a device is told again now; `connected`: it has just come."""
    if current.again_at is not None and now >= current.again_at:
        return True
    if current.again_at is not None and not connected and found is not Standing.BEYOND:
        return False
    # Nobody knows when it is told again before the broker has it: of its reports until then, few are answered.
    may_come = connected or current.again_at is None
    return current.tries <= _TRIES_AT_ONCE or (may_come and now >= (current.sent_at or 0.0) + _PAUSE_S)


def may_ask_for_proof(current: DesiredRecord, *, now: float) -> bool:
    """Tell whether a device whose reports prove nothing may be told anew, to prove by it that they are newer.

    After several times it is told once a minute at most: two that share an identity ask for it in turn, for ever. What
    counts is when its generation was made, for that is sent again meanwhile.
    """
    if current.unsent or current.tries <= _TRIES_AT_ONCE:
        return not current.unsent
    passed_s = now - time_of(current.desired.generation)
    if passed_s < 0:  # made by a clock that was ahead
        return current.again_at is None or now >= current.again_at
    return passed_s >= _PAUSE_S


def may_forget(current: DesiredRecord, *, now: float) -> bool:
    """Tell whether it is forgotten how often a device was told, now that it acts on it.

    That is later: a device that says now this and now that must not draw an answer each time.
    """
    return not current.unsent and (current.again_at is None or now >= current.again_at)


def refusal_in(
    current: DesiredRecord, report: Reported | None, found: Standing, *, now: float
) -> DesiredRefusal | None:
    """Return why a device does not act on what it is told, as its report shows it; None where it says nothing of it.

    What it does not trust may say the very thing that it acts on, under a key that it does not know: it is told of no
    change any more. Nobody vouches for the generation of that, and it says not of each that it refuses it.
    """
    told = current.desired.generation
    if report is None:
        return None
    if found is Standing.UNBELIEVABLE:
        said = f"it reports the generation {report.generation}"
        return DesiredRefusal(cause=Reason.GENERATION_UNBELIEVABLE, generation=told, detail=said, at=now)
    if (refused := report.refused) is UNSET:
        return None
    untrusted = refused.cause == Reason.DESIRED_UNTRUSTED
    if found is Standing.ANSWERED and not (untrusted and refused.generation == told):
        return None
    generation = told if refused.generation is None else refused.generation
    if generation != told and not (untrusted and generation < told):
        return None
    return DesiredRefusal(cause=refused.cause, generation=told, detail=refused.detail, at=now)


def unproven_refusal(said: Reported, newest: ReportedRecord | None, *, told: int, now: float) -> DesiredRefusal:
    """Return in words why a device that reports is not heard."""
    over = f" {newest.reported.boot_count}" if newest is not None else ""
    detail = (
        f"its start {said.boot_count} reports below the number of one before,{over}: its card was restored, or its "
        "clock was ahead; it is told anew, and heard as soon as it answers that"
    )
    return DesiredRefusal(cause=Reason.REPORTS_OLDER, generation=told, detail=detail, at=now)


def same_refusal(one: DesiredRefusal | None, other: DesiredRefusal | None) -> bool:
    """Tell whether two refusals differ in nothing but the time."""
    if one is None or other is None:
        return one is other
    return (one.cause, one.generation, one.detail) == (other.cause, other.generation, other.detail)


def settled(current: DesiredRecord | None, newest: ReportedRecord | None, *, now: float) -> bool:
    """Tell whether nothing is to be done about a device that spoke: it acts on what it is told, and all is noted.

    None: it was never told anything, or has reported nothing that can be read.
    """
    if current is None:
        return True
    report, highest = (newest.reported, newest.highest_generation) if newest is not None else (None, 0)
    found = standing(current, report, highest_reported=highest, now=now)
    if found is not Standing.ANSWERED or current.refusal is not None:
        return False
    if refusal_in(current, report, found, now=now) is not None:
        return False
    return not (may_forget(current, now=now) and (current.tries or current.again_at is not None))
