"""The scalars of all messages, and how large a message may be."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

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

MOST_BOOTS = 2**36
"""The highest number of a start that is believed; as a time in seconds (ADR 0005) the year 4147."""
MOST_CONNECTIONS = 2**40
"""Of one start, believed."""
MOST_REPORTS = 2**48
"""Of one start, believed."""
