"""Trusted time: the time to believe on a machine whose clock may be years off. Pure.

Trusted time = max(system clock, last trusted time on disk, build time); it only rises. It is a lower bound of the real
time. So what has expired by it has expired, while only a plausible clock can tell that something is not yet valid. A
clock before the last trusted time, or more than ten years after this software was built, is implausible: it is not
believed, and reported as not synced. Nothing that serves, commits or rolls back asks for the time.
"""

from __future__ import annotations

import msgspec

from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S

SKEW_S = 300
"""How far two clocks that are both right may be apart."""


class TrustedTime(msgspec.Struct, frozen=True):
    """A time in seconds since the epoch, and whether the system clock is behind it."""

    seconds: float
    clock_synced: bool


def trusted_time(system_s: float, *, last_s: float, build_s: float = BUILD_TIME_S) -> TrustedTime:
    """Return the time to believe; `last_s` is the last trusted time on disk, 0 where there is none."""
    floor = max(last_s, build_s)
    if floor - SKEW_S <= system_s <= build_s + PLAUSIBLE_S:
        return TrustedTime(max(system_s, floor), clock_synced=True)
    return TrustedTime(floor, clock_synced=False)


def expired(expires_s: float, now: TrustedTime) -> bool:
    """Tell whether something is surely past its expiry."""
    return expires_s <= now.seconds


def too_early(not_before_s: float, now: TrustedTime) -> bool:
    """Tell whether something is surely not valid yet; a clock that is not synced cannot say."""
    return now.clock_synced and not_before_s > now.seconds + SKEW_S
