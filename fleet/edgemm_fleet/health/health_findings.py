"""The findings on the manager's health: what each is called, and what all of them come to. Pure.

A finding that is `urgent` makes the manager unhealthy; others are worth knowing. `examination` finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct


class FindingName(StrEnum):
    """What was found, as programs know it."""

    BROKER_GONE = "broker_gone"
    CERTIFICATE_ENDS = "certificate_ends"
    CLOCK_LEAPT = "clock_leapt"
    CLOCK_WRONG = "clock_wrong"
    DATABASE_FAILS = "database_fails"
    DATABASE_HANGS = "database_hangs"
    DATABASE_SLOW = "database_slow"
    DEVICES_CUT_OFF = "devices_cut_off"
    DEVICES_DUPLICATE = "devices_duplicate"
    DEVICES_REFUSE = "devices_refuse"
    DISK_FULL = "disk_full"
    HTTP_FULL = "http_full"
    INGEST_BEHIND = "ingest_behind"
    MANAGER_DOWN = "manager_down"
    OUTBOX_BEHIND = "outbox_behind"
    ROWS_UNREADABLE = "rows_unreadable"
    SCHEDULER_HANGS = "scheduler_hangs"
    SIGNATURE_ENDS = "signature_ends"
    SIGNING_HANGS = "signing_hangs"
    WORKER_FAILS = "worker_fails"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was found: its name, whether it makes the manager unhealthy, in words, and what to do."""

    name: str
    urgent: bool
    text: str
    next: str


def healthy(found: Sequence[Finding]) -> bool:
    """Tell whether nothing is urgent."""
    return not any(one.urgent for one in found)


def headline(found: Sequence[Finding]) -> str:
    """Return all of it in one line: "healthy", or what is wrong first."""
    worst = [one for one in found if one.urgent]
    if not worst:
        return "healthy"
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
    return f"not healthy: {worst[0].text}{more}"


def urgent(name: FindingName, text: str, advice: str) -> Finding:
    """Return one that makes the manager unhealthy."""
    return Finding(name=name, urgent=True, text=text, next=advice)


def notice(name: FindingName, text: str, advice: str) -> Finding:
    """Return one that is worth knowing."""
    return Finding(name=name, urgent=False, text=text, next=advice)
