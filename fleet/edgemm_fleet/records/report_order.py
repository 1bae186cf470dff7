"""The order of a device's reports: which one is newer than all before. Pure.

The numbers of a report rise with each start and each report, unless a card is restored from an image or a clock was
ahead for one start: then a device that goes on numbers lower than it once did. What it signs still proves that it is
newer where it echoes what the manager told it **after** the newest report was taken: nobody can have echoed that
before. From then on every report that acts on an older generation is of before, whatever its numbers; so what was
signed under the higher numbers cannot come back.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from edgemm.messages import Reported


class Verdict(Enum):
    """What a report is beside the newest one of its device."""

    NEWER = "newer"
    KNOWN = "known"
    """It is of the same start, and came late or twice."""
    OLDER = "older"
    """It is of another start, and nothing shows that it is newer."""


class LastTold(NamedTuple):
    """What the manager told a device last; `generation` 0: nothing."""

    generation: int = 0
    content_hash: str | None = None


class Newest(NamedTuple):
    """The numbers of a device's newest report.

    `told` is the generation that the device had been told last when the report was taken, and `since` the one by which
    a report with lower numbers proved that it is newer (0: none did).
    """

    boot_count: int
    sequence: int
    told: int = 0
    since: int = 0


def following(before: Newest | None, report: Reported, told: LastTold) -> Newest | None:
    """Return the numbers to keep of a report that is newer than all before; None where nothing shows that it is."""
    if before is None:
        return Newest(*report.order, told=told.generation)
    if report.order > (before.boot_count, before.sequence) and report.generation >= before.since:
        return Newest(*report.order, told=told.generation, since=before.since)
    if told.generation != before.told and echoes(report, told):
        return Newest(*report.order, told=told.generation, since=told.generation)
    return None


def echoes(report: Reported, told: LastTold) -> bool:
    """Tell whether a report acts on what its device was told last; one of an earlier version names no hash."""
    return 0 < told.generation == report.generation and (not report.desired_hash or
                                                         report.desired_hash == told.content_hash)  # fmt: skip
