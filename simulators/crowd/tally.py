"""What a process of many devices tells of them."""

from __future__ import annotations

from msgspec import Struct


class Tally(Struct, frozen=True, kw_only=True):
    """How its devices are now; times are of the monotonic clock, which is one for all processes of a machine."""

    devices: int
    connected: int
    connects: int
    """Times that a broker let one in."""
    refused: int
    lost: int
    unacknowledged: int
    """Events and windows that no acknowledgement of the fleet has covered."""
    unconfirmed: int
    """Messages that the broker has not confirmed."""
    told: int
    """Events and windows that were made."""
    resent: int
    """Times that a device sent everything once more, since nothing was acknowledged for 30 s."""
    states: dict[str, int]
    """Devices by the state of their model."""
    downloads: int
    cpu_s: float
    rss_bytes: int
