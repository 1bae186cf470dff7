"""A session of any engine with a watch on it: how long inferences take, which of them hang, and what tuning is kept.

    session = TimedSession(opened)
    session.invoke(feeds, rows=1)
    hanging = session.overdue(time.monotonic())

An inference hangs when it takes 1.5 s and 20 times what a row of a batch usually takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from edgemm_runtime.engines.interface import Session
from edgemm_runtime.engines.pacing import Rest
from edgemm_runtime.tensors.batching import identical
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_HANG_S = 1.5
_HANG_RATIO = 20
_WEIGHT = 0.05


class TimedSession:
    """A session, watched; safe to call from many threads."""

    def __init__(self, session: Session, *, row_s: float = 0.0) -> None:
        """Watch a session of which it is known how long a row usually takes; 0 where it is not."""
        self._session = session
        self._running: dict[int, tuple[float, int]] = {}
        self.row_s = row_s
        """How long a row of a batch usually takes."""

    def invoke(self, tensors: Arrays, rows: int) -> dict[str, Array]:
        """Compute the outputs of so many rows of a batch; see `Session`."""
        thread, start_s = threading.get_ident(), time.monotonic()
        self._running[thread] = (start_s, rows)
        try:
            return self._session.invoke(tensors)
        finally:
            # Taken out by `give_up`, it hung: no usual time.
            if self._running.pop(thread, None) is not None:
                took_s = (time.monotonic() - start_s) / rows
                self.row_s += (took_s - self.row_s) * (_WEIGHT if self.row_s else 1.0)

    def overdue(self, now_s: float) -> list[int]:
        """Return the threads that hang; see `WatchedModel`."""
        return [
            thread
            for thread, (since_s, rows) in list(self._running.items())
            if now_s - since_s > max(_HANG_S, _HANG_RATIO * self.row_s * rows)
        ]

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs holds; see `WatchedModel`."""
        if self._running.pop(thread, None) is not None:
            self._session.give_up(thread)

    def widen(self, feeds: Arrays, *, told: Callable[[Arrays], Arrays], alone: Arrays) -> None:
        """Let a lone inference take several CPU threads, where these tell bit for bit what was answered `alone`."""
        found = self._session.widen(feeds)
        if found is not None and not identical(told(found), alone):
            self._session.narrow()


def answers_together(
    batch_of: Callable[[Sequence[Arrays]], Sequence[Arrays] | None],
    samples: Sequence[Arrays],
    alone: Sequence[Arrays],
    rest: Rest,
) -> bool:
    """Tell whether a batch of requests answers what each was answered alone.

    In two orders: of one sample, or of the same one twice, a batch may tell the same where rows have a part in each
    other.
    """
    if len(samples) < 2:
        return False
    for order in (slice(None), slice(None, None, -1)):
        answers = batch_of(samples[order])
        rest()
        if answers is None or not all(map(identical, answers, alone[order])):
            return False
    return True
