"""The pacing of a load beside requests: rests between its steps, so that a request waits for one step only.

    rest = Rests()
    first_step(); rest()
    second_step(); rest()

Much of a step holds the interpreter's lock, or a CPU that requests want too. Rests make loading take longer, by tens of
milliseconds, and leave most of the machine to those who wait for answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Rest: TypeAlias = Callable[[], None]
_RATIO = 6.0
_MOST_S = 0.02


def no_rest() -> None:
    """Go on at once: nobody waits."""


class Rests:
    """Each call ends a step: it sleeps `ratio` times as long as that took, at most `most_s` seconds."""

    def __init__(
        self,
        *,
        ratio: float = _RATIO,
        most_s: float = _MOST_S,
        now_s: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ratio, self._most_s, self._now_s, self._sleep = ratio, most_s, now_s, sleep
        self._since_s = now_s()

    def __call__(self) -> None:
        """Rest after a step."""
        self._sleep(min(self._most_s, self._ratio * (self._now_s() - self._since_s)))
        self._since_s = self._now_s()
