"""A session of any engine with a watch on it: how long inferences take, which of them hang, and what tuning is kept.

    session = TimedSession(opened)
    session.invoke(feeds, work=1)
    hanging = session.overdue(look)

An inference hangs when it has had 1.5 s (`patience`) and 20 times what its work usually takes. Work is counted in rows
of a batch, or in elements where other dimensions are variable. A larger input than usual may take the square of that,
as attention does, but for that reason no more than a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from edgemm.errors import EngineError, UnavailableError
from edgemm_runtime.board.thread_times import ThreadsSeen, waits_for_a_disk
from edgemm_runtime.engines import pool
from edgemm_runtime.engines.hang_time import Had, Look, spent
from edgemm_runtime.engines.interface import Session
from edgemm_runtime.engines.pacing import Rest
from edgemm_runtime.tensors.batching import identical
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_HANG_S = 1.5
_HANG_RATIO = 20
_LONGEST_GROWTH_S = 60.0
_WEIGHT = 0.05
_Running: TypeAlias = tuple[float, int]
"""An inference that is under way: since when (s), and its work. Many are made: a named tuple takes thrice the time."""


class _Watched(NamedTuple):
    """One that was under way at the last look, and what it has had by then."""

    running: _Running
    seen: ThreadsSeen
    had: Had


class TimedSession:
    """A session, watched; safe to call from many threads."""

    def __init__(self, session: Session, *, row_s: float = 0.0) -> None:
        """Watch a session of which it is known how long a unit of work usually takes; 0 where it is not."""
        self._session = session
        self._running: dict[int, _Running] = {}
        self._watched: dict[int, _Watched] = {}
        self.row_s, self._usual_work = row_s, 0.0
        """How long a row of a batch, or an element, usually takes."""

    def invoke(self, tensors: Arrays, work: int) -> dict[str, Array]:
        """Compute the outputs of so many rows of a batch, or elements; see `Session`.

        Raises:
            UnavailableError: it was given up meanwhile.
        """
        thread, start_s = threading.get_ident(), time.monotonic()
        self._running[thread] = (start_s, work)
        try:
            return self._session.invoke(tensors)
        except EngineError as err:
            if thread not in self._running:
                raise UnavailableError(f"it was given up: {err}") from err
            raise
        finally:
            # Taken out by `give_up`, it hung: no usual time.
            if self._running.pop(thread, None) is not None:
                took_s, weight = (time.monotonic() - start_s) / work, _WEIGHT if self.row_s else 1.0
                self.row_s += (took_s - self.row_s) * weight
                if work != self._usual_work:
                    self._usual_work += (work - self._usual_work) * weight

    def expected_s(self, work: int) -> float:
        """Return how long so much work takes, at most."""
        return self.row_s * work * max(1.0, work / (self._usual_work or work))

    def overdue(self, look: Look) -> dict[int, Had]:
        """Return the threads that hang, with what they have had; see `WatchedModel`."""
        running, known = self._running.copy(), self._watched
        self._watched = {}
        if not running:
            return {}
        seen, hanging = look(), {}
        for thread, now in running.items():
            before, had = known.get(thread), Had()
            if before is not None and before.running == now:
                had = before.had
                if not (pool.waits(thread) or waits_for_a_disk(seen.python.get(thread, 0))):
                    had += spent(before.seen, seen, thread)
            self._watched[thread] = _Watched(now, seen, had)
            if had.had_s > self._limit_s(now[1]):
                hanging[thread] = had
        return hanging

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs holds; see `WatchedModel`."""
        if self._running.pop(thread, None) is not None:
            self._session.give_up(thread)

    def _limit_s(self, work: int) -> float:
        linear_s = _HANG_RATIO * self.row_s * work
        return max(_HANG_S, linear_s, min(_HANG_RATIO * self.expected_s(work), _LONGEST_GROWTH_S))

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
