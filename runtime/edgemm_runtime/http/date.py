"""The header `Date` of answers, where the device's time is to be believed (RFC 9110, section 6.6.1).

It is told of each answer, and made once a second. A clock that is years off makes every cache and client err: whoever
has no time to believe leaves the header out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

from edgemm import times


def plausible_time_s(wall: Callable[[], float] = time.time) -> float | None:
    """Return what the system's clock shows, in seconds since the epoch; None before this release or years after."""
    found = wall()
    return found if times.plausible(found) else None


class DateLine:
    """The line of a head; `now_s` is seconds since the epoch, None while nobody knows them.

    It is asked once a second, so the time may be told a second late; safe to use from many threads.
    """

    def __init__(
        self,
        now_s: Callable[[], float | None] = plausible_time_s,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_s, self._monotonic = now_s, monotonic
        self._made: tuple[int, str] = (-1, "")

    def ask(self, now_s: Callable[[], float | None]) -> None:
        """Tell another one's time from now on."""
        self._now_s, self._made = now_s, (-1, "")

    def __call__(self) -> str:
        """Return `Date: …` with its line end, or nothing."""
        tick = int(self._monotonic())
        made_at, line = self._made
        if made_at != tick:
            now_s = self._now_s()
            line = "" if now_s is None else f"Date: {formatdate(now_s, usegmt=True)}\r\n"
            self._made = (tick, line)
        return line


def undated() -> str:
    """Return no line, for a server whose time nobody knows."""
    return ""
