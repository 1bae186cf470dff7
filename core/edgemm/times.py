"""Times on the wire: RFC 3339 in UTC, whole seconds, `2026-11-20T19:00:00Z`; and durations for people."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

TIME_PATTERN = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"
TimeText = Annotated[str, Meta(pattern=TIME_PATTERN)]
_TIME = re.compile(TIME_PATTERN, re.ASCII)
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


BUILD_TIME_S = 1_793_491_200
"""When this release was made, 2026-11-01: no clock that is right shows an earlier time."""
PLAUSIBLE_S = 10 * 366 * 86400
"""How long after its build a release believes a system clock."""


def plausible(seconds: float) -> bool:
    """Tell whether a system clock that shows this time, in seconds since the Unix epoch, may be right."""
    return BUILD_TIME_S <= seconds <= BUILD_TIME_S + PLAUSIBLE_S


def boot_time_s() -> float:
    """Return for how long this machine has run, in seconds: its steady clock, which also counts while it sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def to_text(seconds: float) -> str:
    """Write seconds since the Unix epoch."""
    return datetime.fromtimestamp(int(seconds), tz=UTC).strftime(_FORMAT)


def from_text(text: str) -> int:
    """Read a time into seconds since the Unix epoch.

    Raises:
        ValueError: it has the form of a time but is none, such as a 31st of February.
    """
    if _TIME.fullmatch(text):
        return int(datetime.fromisoformat(text).timestamp())
    return int(datetime.strptime(text, _FORMAT).replace(tzinfo=UTC).timestamp())  # slow, and says what is wrong


def span(seconds: float) -> str:
    """Return a duration for people, in its largest whole unit: `3 min`."""
    for size, name in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return "0 s"
