"""The message `ack`: what the fleet manager has stored of each stream."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edgemm.messages.scalars import Boot, Natural
from edgemm.open_enum import OpenEnum


class Stream(OpenEnum):
    """What is numbered and acknowledged on its own."""

    EVENT = "event"
    TELEMETRY = "telemetry"


class StreamAck(Struct, frozen=True, kw_only=True):
    """The highest sequence of one boot's stream up to which everything is stored."""

    boot: Boot
    stream: Stream
    sequence: Natural


class Ack(Struct, frozen=True, kw_only=True):
    """What the fleet manager has stored; only this lets a device drop something from its spool."""

    v: Literal[1] = 1
    acks: Annotated[tuple[StreamAck, ...], Meta(min_length=1, max_length=64)]
