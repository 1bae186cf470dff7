"""The speaker of a device's messages: the device, and the life of its agent."""

from __future__ import annotations

import msgspec


class Speaker(msgspec.Struct, frozen=True):
    """Who is speaking, in which life of the agent."""

    fleet: str
    device: str
    boot: str
    boot_count: int
