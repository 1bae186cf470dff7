"""The spreading of connections over event loops, as `Spread` chooses."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

from edgemm_runtime.http.loop import EventLoop
from edgemm_runtime.http.spread import WINDOW_S, LoopWindow, Spread, Way

_log = logging.getLogger(__name__)


class Spreader:
    """Looks in the first loop's thread at what all loops did, and moves connections where the choice changes."""

    def __init__(self, loops: Sequence[EventLoop]) -> None:
        self._loops, self._spread = loops, Spread()
        self._looked_s = time.monotonic()
        self._seen = self._counts(self._looked_s)
        if len(loops) > 1:
            loops[0].on_beat(self._look, every_s=WINDOW_S)

    @property
    def way(self) -> Way:
        """How connections are spread now."""
        return self._spread.way

    def home(self) -> EventLoop:
        """Return the loop for a new connection: of several the one that has the fewest."""
        return self._loops[0] if self.way is Way.ONE else min(self._loops, key=len)

    def _counts(self, now_s: float) -> list[tuple[int, float]]:
        return [(sum(loop.statuses().values()), loop.waited_s(now_s)) for loop in self._loops]

    def _look(self, now_s: float) -> None:
        seconds, counts = now_s - self._looked_s, self._counts(now_s)
        changes = [
            (answered - answered_before, waited_s - waited_before_s)
            for (answered, waited_s), (answered_before, waited_before_s) in zip(counts, self._seen, strict=True)
        ]
        self._looked_s, self._seen = now_s, counts
        busy = max(1.0 - waited_s / seconds for _, waited_s in changes)
        before = self.way
        if self._spread.tell(LoopWindow(seconds, sum(answered for answered, _ in changes), busy)) is not before:
            _log.debug("connections are spread anew loops=%s", self.way.value)
            self._move()

    def _move(self) -> None:
        """Deal the connections out; in turns, so that each loop has as many of those that ask."""
        loops = self._loops if self.way is Way.ALL else self._loops[:1]
        found = [(connection, loop) for loop in self._loops for connection in loop.connections()]
        found.sort(key=lambda pair: -pair[0].since_s)
        for number, (connection, loop) in enumerate(found):
            loop.call(partial(loop.move, connection, loops[number % len(loops)]))
