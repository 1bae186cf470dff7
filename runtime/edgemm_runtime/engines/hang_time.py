"""The judgement how long inferences that are under way have had, by which it is told that they hang. Pure.

    had = spent(threads_seen(1.0), threads_seen(1.2), thread)

What counts is the time in which a thread could have computed: neither that in which it was ready and had no CPU, nor
that in which the whole process stood still. A busy machine, a stopped process and a laptop that slept are no hangs. A
thread that neither runs nor is ready waits for something, maybe for the engine's own threads: then theirs count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from edgemm_runtime.board.thread_times import ThreadsSeen, ThreadTime

_HALF = 0.5


class Had(NamedTuple):
    """What an inference has had: time in which it could have computed, and time in which it, or its engine, did."""

    had_s: float = 0.0
    computed_s: float = 0.0

    def __add__(self, other: tuple[float, ...]) -> Had:  # type: ignore[override]
        """Return what it has had in two parts of its time."""
        return Had(self.had_s + other[0], self.computed_s + other[1])

    @property
    def computes(self) -> bool:
        """Whether it was at work, rather than waiting for something that never comes."""
        return self.computed_s > _HALF * self.had_s


Look: TypeAlias = Callable[[], ThreadsSeen]
"""Looks at the threads; asked again, it returns the same."""


def spent(before: ThreadsSeen, now: ThreadsSeen, thread: int) -> Had:
    """Return what a thread has had between two looks; it was in the engine all the time."""
    elapsed_s, native = now.now_s - before.now_s, now.python.get(thread, 0)
    ran_s, waited_s = _times(before, now, native)
    if ran_s + waited_s < _HALF * elapsed_s:
        helpers = [_times(before, now, one) for one in now.times.keys() - set(now.python.values())]
        ran_s += sum(ran for ran, _ in helpers)
        waited_s = max([waited_s, *(waited for _, waited in helpers)])
    return Had(max(0.0, elapsed_s - waited_s), min(ran_s, elapsed_s))


def _times(before: ThreadsSeen, now: ThreadsSeen, native: int) -> tuple[float, float]:
    nothing = ThreadTime(0.0, 0.0)
    first, last = before.times.get(native, nothing), now.times.get(native, nothing)
    ran_s, waited_s = max(0.0, last.ran_s - first.ran_s), max(0.0, last.waited_s - first.waited_s)
    return ran_s, max(waited_s, now.now_s - before.now_s - ran_s) if last.ready else waited_s
