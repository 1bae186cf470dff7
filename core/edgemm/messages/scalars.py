"""The scalars of all messages, and how large a message may be."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgemm.times import PLAUSIBLE_S

VERSION = 1
MAX_CONTROL_BYTES = 32 * 1024
"""Largest control message, envelope and all."""
MAX_TELEMETRY_BYTES = 1024
"""Largest telemetry message: one a minute and device."""

Boot = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
"""A start of the agent: a random 64-bit id in hex."""
Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Short = Annotated[str, Meta(max_length=128)]
Detail = Annotated[str, Meta(max_length=1024)]

MOST_CONNECTIONS = 2**28
"""Of one start, believed: eight years of one each second."""
MOST_REPORTS = 2**32
"""Of one start, believed: ten years of a dozen each second."""
_STARTS = 2**24


def most_boots(now_s: float) -> int:
    """Return the highest number of a start that is believed at a time, in seconds since the Unix epoch.

    A number of a start is a time in seconds by a clock that was believed, and rises by one with each start (ADR 0005).
    """
    return int(now_s) + PLAUSIBLE_S + _STARTS
