"""Trusted time: the time to believe on a machine whose clock may be years off. Pure.

Trusted time = max(system clock, last trusted time on disk, build time). It is a lower bound of the real time. So what
has expired by it has expired, while only a plausible clock can tell that something is not yet valid. A clock before the
last trusted time, or more than ten years after this software was built, is implausible: it is not believed, and
reported as not synced. Nothing that serves, commits or rolls back asks for the time.

It rises, and has one way back. A clock that was years ahead for a moment would else end all updates for years. A
statement of the fleet's time (`edgemm.trust.time_statement`) may lower it, never below the build time nor below the
time at which the newest root and targets metadata were signed (`stated`). It never raises it: a manager's clock that
leaps must not take all devices along. Where the system clock is ahead of the fleet's time, by how much is remembered
and taken off, until a later statement finds the clock right.
"""

from __future__ import annotations

import msgspec

from edgemm.reasons import Reason
from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S

SKEW_S = 300
"""How far two clocks that are both right may be apart."""


class TrustedTime(msgspec.Struct, frozen=True):
    """A time in seconds since the epoch, and whether the system clock is behind it."""

    seconds: float
    clock_synced: bool


class TimeMemory(msgspec.Struct, frozen=True):
    """What a device remembers of time, in seconds.

    `last_s` is the last trusted time. `ahead_s` is by how much the system clock was ahead of the fleet's time by the
    last statement, 0 where it was not; `since_s` is since when, by the fleet's time, 0 where nobody knows.
    """

    last_s: float = 0.0
    ahead_s: float = 0.0
    since_s: float = 0.0


def trusted_time(system_s: float, *, last_s: float, build_s: float = BUILD_TIME_S, ahead_s: float = 0.0) -> TrustedTime:
    """Return the time to believe; `last_s` is the last trusted time on disk, 0 where there is none.

    A system clock that is known to be `ahead_s` ahead helps by what it shows less that, and is not called synced.
    """
    floor, shown_s = max(last_s, build_s), system_s - ahead_s
    if floor - SKEW_S <= shown_s <= build_s + PLAUSIBLE_S:
        return TrustedTime(max(shown_s, floor), clock_synced=ahead_s == 0)
    return TrustedTime(floor, clock_synced=False)


def clock_trouble(system_s: float, memory: TimeMemory, *, build_s: float = BUILD_TIME_S) -> Reason | None:
    """Return why the system clock is not believed; None where it is."""
    shown_s = system_s - memory.ahead_s
    if shown_s < max(memory.last_s, build_s) - SKEW_S:
        return Reason.CLOCK_BEHIND
    if memory.ahead_s > 0 or shown_s > build_s + PLAUSIBLE_S:
        return Reason.CLOCK_AHEAD
    return None


def stated(
    memory: TimeMemory, *, fleet_s: float, system_s: float, least_s: float, build_s: float = BUILD_TIME_S
) -> TimeMemory:
    """Return what to remember after a statement that it is `fleet_s` now.

    Args:
        memory: what is remembered.
        fleet_s: the time that the statement tells.
        system_s: what the system clock shows now.
        least_s: when the newest verified root or targets metadata was signed, 0 where neither says.
        build_s: when this software was built.
    """
    lowest_s = max(fleet_s, least_s, build_s)
    last_s = lowest_s if memory.last_s - lowest_s > SKEW_S else memory.last_s
    ahead_s = system_s - lowest_s
    if ahead_s <= SKEW_S:
        return TimeMemory(last_s)
    return TimeMemory(last_s, ahead_s, memory.since_s if memory.ahead_s > 0 else lowest_s)


def expired(expires_s: float, now: TrustedTime) -> bool:
    """Tell whether something is surely past its expiry."""
    return expires_s <= now.seconds


def too_early(not_before_s: float, now: TrustedTime) -> bool:
    """Tell whether something is surely not valid yet; a clock that is not synced cannot say."""
    return now.clock_synced and not_before_s > now.seconds + SKEW_S
