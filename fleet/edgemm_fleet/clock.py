"""The clock of the manager, which dates all that a fleet signs: a leap does not carry it along, a wrong one is refused.

    clock = ManagerClock()
    clock()                     # the time to go by
    if leap_s := clock.confirmed():
        …                       # move what has a date by as much
        clock.adopt()

A device takes no time from its clock alone. But it would find a `desired` or a timestamp of 1970 expired, and it would
believe one of 2040 for years. So by a clock that cannot be right nothing is signed (`check_clock`). A clock that may be
right can still leap. Time then goes on as it did, by the machine's steady clock, for a minute: a leap that is over by
then has done nothing. One that lasts is believed, for it may be the correction, and whatever runs by a deadline is
moved by as much.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from edgemm import times
from edgemm.errors import EnvironmentFailure

_log = logging.getLogger(__name__)
SLACK_S = 600.0
"""How far ahead of now a date may lie that was written by a right clock as the present."""
LEAP_S = 60.0
"""A clock that is off by more than this from what it should show has leapt."""
CONFIRM_S = 60.0
"""A leap that lasts so long is believed."""
PROVEN_S = 86400.0
"""By a clock that did not leap for so long, what bears a later date is taken for written by a wrong one."""


class SteadyTime(Struct, frozen=True):
    """The last time at which both clocks agreed, and the leap since (0: none) with when it was seen first. Pure."""

    wall_s: float
    monotonic_s: float
    leap_s: float = 0.0
    since_s: float = 0.0

    def looked(self, wall_s: float, monotonic_s: float) -> SteadyTime:
        """Note what both clocks show now."""
        off_s = wall_s - self.now_s(monotonic_s)
        if abs(off_s) <= LEAP_S:
            return SteadyTime(wall_s, monotonic_s)
        if self.leap_s and abs(off_s - self.leap_s) <= LEAP_S:
            return self
        return replace(self, leap_s=off_s, since_s=monotonic_s)

    def now_s(self, monotonic_s: float) -> float:
        """Return the time to go by, in seconds since the Unix epoch."""
        return self.wall_s + (monotonic_s - self.monotonic_s)

    def confirmed_s(self, monotonic_s: float) -> float:
        """Return a leap that has lasted, 0 where there is none."""
        return self.leap_s if monotonic_s - self.since_s >= CONFIRM_S else 0.0


class ManagerClock:
    """The system clock without its leaps; safe to use from many threads."""

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = times.boot_time_s
    ) -> None:
        self._wall, self._monotonic, self._lock = wall, monotonic, threading.Lock()
        self._state, self._begun_s = SteadyTime(wall(), monotonic()), monotonic()

    def __call__(self) -> float:
        """Return the time to go by, in seconds since the Unix epoch."""
        with self._lock:
            monotonic_s = self._look()
            return self._state.now_s(monotonic_s)

    @property
    def settled(self) -> bool:
        """Whether no leap waits to be believed."""
        with self._lock:
            self._look()
            return self._state.leap_s == 0.0

    def confirmed(self) -> float:
        """Return by how many seconds the clock leapt, once that is to be believed; else 0."""
        with self._lock:
            return self._state.confirmed_s(self._look())

    def lasted_s(self) -> float:
        """Return for how long the clock has not leapt, as far as this process knows."""
        with self._lock:
            monotonic_s = self._look()
            return 0.0 if self._state.leap_s else monotonic_s - self._begun_s

    def adopt(self) -> None:
        """Go by what the system clock shows from now on."""
        with self._lock:
            self._state, self._begun_s = SteadyTime(self._wall(), self._monotonic()), self._monotonic()

    def _look(self) -> float:
        monotonic_s, before = self._monotonic(), self._state
        self._state = before.looked(self._wall(), monotonic_s)
        if self._state.leap_s not in {0.0, before.leap_s}:
            leap_s = self._state.leap_s
            direction = "ahead" if leap_s > 0 else "back"
            _log.error("clock leapt %s by=%s; believed in %.0f s", direction, times.span(abs(leap_s)), CONFIRM_S)
        return monotonic_s


def check_clock(now: float) -> None:
    """Refuse to sign by a clock that shows a time before this release was made, or ten years after.

    Raises:
        EnvironmentFailure: the clock, in seconds since the Unix epoch, cannot be right.
    """
    if not times.plausible(now):
        first, last = times.BUILD_TIME_S, times.BUILD_TIME_S + times.PLAUSIBLE_S
        raise EnvironmentFailure(
            f"the clock of this machine shows {_shown(now)}: expected {_shown(first)} to {_shown(last)}, and what is "
            "signed with a wrong time is refused by devices; set the clock (timedatectl set-ntp true), then try again"
        )


def _shown(seconds: float) -> str:
    return times.to_text(seconds)[:10]
