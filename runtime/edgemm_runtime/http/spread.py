"""The choice between one event loop and several, by what was measured. Pure: times and counts are arguments.

Loops are threads of one interpreter, and but one of them has its lock. What a loop does without the lock, which is most
of an inference, another loop may do at the same time; all the rest they do in turns, and each turn costs a change of
threads. So one loop serves until several answer more requests a second. While one loop is busy, both ways are tried
one after the other, twice; now and then again, and when the load has changed.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

WINDOW_S = 0.1
"""How long one way is tried."""
_PAIRS = 2
_BUSY, _IDLE = 0.7, 0.3
_WORTH = 1.1
"""Several loops take more of the CPUs in all: a tenth more requests are to be had for that."""
_AGAIN_S = 60.0
_CHANGED = 1.5
_SOON_S = 5.0


class LoopWindow(NamedTuple):
    """What all loops did in a span of time."""

    seconds: float
    answered: int
    """Requests."""
    busy: float
    """The busiest loop's share of the time in which it did not wait."""


class Way(Enum):
    """How connections are spread."""

    ONE = "one"
    ALL = "all"


class Spread:
    """The choice for one server of at least two loops; told a window after the other of about `WINDOW_S`."""

    def __init__(self) -> None:
        self.way = Way.ONE
        """Over how many loops connections are to be spread in the next window."""
        self._best = Way.ONE
        self._trial: list[tuple[Way, float]] = []
        self._trying = self._settling = False
        self._since_s = _AGAIN_S
        self._usual_per_s = 0.0

    def tell(self, window: LoopWindow) -> Way:
        """Take note of a window in which connections were spread by `way`; return what the next one is to have."""
        self._since_s += window.seconds
        if self._settling:  # connections were still on their way to other loops
            self._settling = False
            return self.way
        per_s = window.answered / window.seconds
        if self._trying:
            self._trial.append((self.way, per_s))
            if len(self._trial) == 2 * _PAIRS:
                return self._decide()
            return self._turn(Way.ALL if self.way is Way.ONE else Way.ONE)
        if window.busy < _IDLE:
            self._best = Way.ONE
            return self._turn(Way.ONE)
        if window.busy >= _BUSY and self._is_due(per_s):
            self._trying, self._trial = True, []
            return self._turn(Way.ONE)
        return self.way

    def _is_due(self, per_s: float) -> bool:
        if self._since_s < _SOON_S:
            return False
        usual = self._usual_per_s
        return self._since_s >= _AGAIN_S or not usual / _CHANGED <= per_s <= usual * _CHANGED

    def _decide(self) -> Way:
        pairs = [(self._trial[at][1], self._trial[at + 1][1]) for at in range(0, 2 * _PAIRS, 2)]
        # In each pair: what else the machine did for a moment decides nothing.
        worth = all(several > _WORTH * one for one, several in pairs)
        self._best = Way.ALL if worth else Way.ONE
        found = [per_s for way, per_s in self._trial if way is self._best]
        self._usual_per_s, self._since_s, self._trying = sum(found) / len(found), 0.0, False
        return self._turn(self._best)

    def _turn(self, way: Way) -> Way:
        self._settling = way is not self.way
        self.way = way
        return way
