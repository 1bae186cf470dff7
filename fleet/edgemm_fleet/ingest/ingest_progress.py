"""The progress of the ingest: what came, what was stored, how large batches are, and how far behind it is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from edgemm_fleet.instruments import COUNTS, Distribution

_MARK_EVERY_S = 0.1
_MOST_MARKS = 10_000
_FEW = 1000
"""Messages that are stored within a second or so."""


class IngestProgress:
    """Counts messages on their way through the queue; safe to use from several threads."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._lock = monotonic, threading.Lock()
        self.batches = Distribution(COUNTS)
        """Messages in each batch that was stored."""
        self._came, self._done = 0, 0
        self._stored_s = monotonic()
        self._marks: deque[tuple[int, float]] = deque(maxlen=_MOST_MARKS)
        """(number of a message, when it came), ten a second at most."""

    @property
    def waiting(self) -> int:
        """Messages that came and are not durable."""
        return self._came - self._done

    def came(self, now_s: float) -> None:
        """Note that a message was put into the queue."""
        with self._lock:
            if self._came == self._done:
                self._marks.clear()
            if not self._marks or now_s - self._marks[-1][1] >= _MARK_EVERY_S:
                self._marks.append((self._came, now_s))
            self._came += 1

    def stored(self, number: int) -> None:
        """Note that a batch of so many messages is done with."""
        with self._lock:
            self._done += number
            self._stored_s = self._monotonic()
            self.batches.note(float(number), now_s=self._stored_s)
            while len(self._marks) > 1 and self._marks[1][0] <= self._done:
                self._marks.popleft()

    def follows(self, since_s: float) -> bool:
        """Tell whether there is room for what devices would answer if they were told more, as after a monotonic time.

        There is where nothing waits; and where little does, and some was stored since then.
        """
        return self.waiting == 0 or (self.waiting <= _FEW and self._stored_s >= since_s)

    def behind_s(self) -> float:
        """Return how long ago the message came that is stored next, to a tenth of a second; 0 where none waits."""
        with self._lock:
            return self._monotonic() - self._marks[0][1] if self.waiting and self._marks else 0.0
