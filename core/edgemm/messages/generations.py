"""The arithmetic of generations: which number a device's next `desired` gets, and which numbers are believed. Pure.

    generation = the least number above max(last, reported), and not before the clock, that ends in the nonce
               = (milliseconds since the Unix epoch << 10) | nonce, wherever the clock is ahead of both

`last` is what the fleet manager told the device last, `reported` the highest that the device reported, and the nonce is
drawn anew with each start of the manager. So a manager that was restored from a backup, or whose clock was put back,
does not write a number a second time with other contents: the time is another, and where the clock does not say so,
the nonce is. All numbers stay below 2⁵³ until the year 2248.

A number from outside has to leave room above it. One that no manager's clock can have made is not believed, neither by
the manager that a device tells it nor by the device that a `desired` with it comes to. What a manager believes is well
below what a device accepts: else a report could have it write what its device refuses from then on. The one step from
the counters of earlier versions (1, 2, 3, …) into the numbers made from the time is as good as any other.
"""

from __future__ import annotations

from edgemm.times import PLAUSIBLE_S

NONCE_BITS = 10
NONCES = 1 << NONCE_BITS
"""How many nonces there are."""
CEILING = 2**53 - 2**43
"""The highest generation that is believed from anybody: 2⁴³ numbers are left above it."""
BELIEVED_AHEAD_S = PLAUSIBLE_S
"""How far ahead of the manager's clock the time inside a reported generation may be: no manager works by a clock that
is further ahead of its own build."""
ACCEPTED_AHEAD_S = 2 * PLAUSIBLE_S
"""How far ahead of a device's trusted time the time inside a new generation may be. That time may be behind by as much
as a manager believes: it is no earlier than the device's build."""


def of_time(now_s: float, *, nonce: int = 0) -> int:
    """Return the generation that a clock (seconds since the Unix epoch) makes."""
    return (max(0, int(now_s * 1000)) << NONCE_BITS) | nonce


def time_of(generation: int) -> float:
    """Return the time inside a generation: when it was made, by a manager's clock that did not have to count on."""
    return (generation >> NONCE_BITS) / 1000


def plausible(reported: int, *, last: int, now_s: float) -> bool:
    """Tell whether the manager believes a generation that a device reports.

    Args:
        reported: what the device says, 0 for none.
        last: what the manager told this device last, 0 for nothing; all up to it is believed.
        now_s: the manager's clock, seconds since the Unix epoch.
    """
    return reported <= last or reported <= min(CEILING, of_time(now_s + BELIEVED_AHEAD_S))


def acceptable(new: int, *, now_s: float) -> bool:
    """Tell whether a device takes a generation; `now_s` is its trusted time, seconds since the Unix epoch."""
    return new <= min(CEILING, of_time(now_s + ACCEPTED_AHEAD_S))


def counted(last: int, *, now_s: float) -> int:
    """Return what a manager told a device last, or 0 where no device whose time is right takes one above it.

    Such a number is of an earlier version, which believed more than devices accept. Its device refuses it as well.
    """
    return last if acceptable(last + NONCES, now_s=now_s) else 0


def next_generation(*, last: int, reported: int, now_s: float, nonce: int) -> int:
    """Return the generation for new contents; what is not believed of `last` and `reported` counts for nothing.

    Args:
        last: what this device was told last, 0 for nothing.
        reported: the highest generation that it reported, 0 for none.
        now_s: the manager's time, seconds since the Unix epoch.
        nonce: of this start of the manager, below `NONCES`.
    """
    told = counted(last, now_s=now_s)
    floor = max(told, reported if plausible(reported, last=told, now_s=now_s) else 0)
    made = max(of_time(now_s, nonce=nonce), (floor >> NONCE_BITS << NONCE_BITS) | nonce)
    return made if made > floor else made + NONCES
