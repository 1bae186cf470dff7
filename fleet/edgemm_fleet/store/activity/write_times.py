"""The times of the one writer: how long it waits for its turn, works and commits; and the turn that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgemm_fleet.instruments import SECONDS, Distribution


class WriteTimes:
    """Noted by whoever has the writer's lock; read by anybody."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.waited = Distribution(SECONDS)
        """Seconds from the wish to write to the beginning of the transaction: others wrote."""
        self.worked = Distribution(SECONDS)
        """Seconds from the beginning of a transaction to its commit."""
        self.committed = Distribution(SECONDS)
        """Seconds of commits, after which what was written survives a loss of power."""
        self._asked_s: float | None = None

    def asked(self) -> float:
        """Return the time, when a write is asked for."""
        return self._monotonic()

    def begins(self) -> None:
        """Note that a write has its turn in this process, and asks the database for one."""
        self._asked_s = self._monotonic()

    def ended(self, asked_s: float, begun_s: float, done_s: float) -> None:
        """Note a write that was committed."""
        now_s = self._monotonic()
        self.waited.note(begun_s - asked_s, now_s=now_s)
        self.worked.note(done_s - begun_s, now_s=now_s)
        self.committed.note(now_s - done_s, now_s=now_s)

    def over(self) -> None:
        """Note that the turn is over, however it ended."""
        self._asked_s = None

    def under_way_s(self) -> float:
        """Return for how long the present write has had its turn, 0 where there is none."""
        asked_s = self._asked_s
        return 0.0 if asked_s is None else self._monotonic() - asked_s
