"""The memory that requests may hold at a time, in bytes, over all threads of a serving process. Pure but for its lock.

    budget = MemoryBudget(256 * 2**20)
    holding = budget.holding()
    holding.grow(len(pixels))  # before they are made; raises where there is no room
    holding.shrink(len(file))  # where something is given back before the rest

    here.holding = holding  # what this thread does now is for this request
    hold(len(pixels))  # as `grow`, deep below where nobody knows of requests
    here.holding = None

A holding travels with its request: with what was received of it, what waits for a thread, what it was decoded to, and
the answer until its last byte is sent. It gives everything back when nothing refers to it any more, which is when the
memory is free too: no sooner, such as when a client went away whose request a thread still computes, and no later. So
nothing may keep a request, or its holding, in a cycle of references.
"""

from __future__ import annotations

import threading
from collections import deque

from msgspec import Struct

from edgemm.errors import RequestError, TooLargeError, UnavailableError

_NEXT_TO_NOTHING = 16
LARGE_BYTES = 64 * 1024
"""What is not larger is not counted by `hold`: a thread is at one request at a time."""


class _Here(threading.local):
    """The request that a thread is at."""

    holding: Holding | None = None


class MemoryBudget:
    """So many bytes; safe to use from many threads."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._counted_bytes = 0
        self._given: deque[int] = deque()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What all holdings have at the moment."""
        with self._lock:
            return self._settled()

    @property
    def room_bytes(self) -> int:
        """What nothing holds at the moment; below 0 where `take_anyway` took more."""
        return self.total_bytes - self.held_bytes

    def holding(self, *, granted_bytes: int = 0) -> Holding:
        """Return what counts one request, or whatever else holds memory.

        The first `granted_bytes` of it are counted elsewhere, by whoever grants them, and cost nothing here.
        """
        return Holding(self, granted_bytes)

    def take(self, count: int, *, leaving: int = 0) -> bool:
        """Count bytes that are about to be made; False, and nothing is counted, where there is no room.

        `leaving` so many for others.
        """
        with self._lock:
            if self._settled() + count > self.total_bytes - leaving:
                return False
            self._counted_bytes += count
            return True

    def take_anyway(self, count: int) -> None:
        """Count bytes whether there is room or not: what is bounded in another way, such as by number."""
        with self._lock:
            self._counted_bytes += count

    def give(self, count: int) -> None:
        """Give back what was taken."""
        # The interpreter may end a holding anywhere, also where this very thread has the lock.
        self._given.append(count)

    def _settled(self) -> int:
        while self._given:
            self._counted_bytes -= self._given.popleft()
        return self._counted_bytes


class Holding(Struct, gc=False):
    """What one request holds of a budget; used by one thread at a time. One is made for each request, so cheaply."""

    _budget: MemoryBudget
    _granted_bytes: int = 0
    held_bytes: int = 0
    """All that it was grown by and did not give back."""

    _taken_bytes: int = 0

    def grow(self, count: int, *, leaving: int = 0) -> None:
        """Hold `count` more bytes, which are made after this; `leaving` is what others are to find room for.

        Raises:
            TooLargeError: so many could not be had if this request were the only one.
            UnavailableError: others hold too much at the moment.
        """
        wanted = self.held_bytes + count
        if wanted > self._granted_bytes and (more := wanted - self._granted_bytes - self._taken_bytes) > 0:
            self._take(more, leaving)
        self.held_bytes = wanted

    def shrink(self, count: int) -> None:
        """Give back `count` bytes of what is held."""
        self.held_bytes -= count
        less = self._taken_bytes - max(0, self.held_bytes - self._granted_bytes)
        if less > 0:
            self._taken_bytes -= less
            self._budget.give(less)

    def grow_anyway(self, count: int) -> None:
        """Hold `count` more bytes whether there is room or not: what is bounded in another way, such as by number."""
        wanted = self.held_bytes + count
        if (more := wanted - self._granted_bytes - self._taken_bytes) > 0:
            self._budget.take_anyway(more)
            self._taken_bytes += more
        self.held_bytes = wanted

    def check(self, count: int, *, leaving: int = 0) -> None:
        """Raise as `grow` would now, and hold nothing."""
        more = max(0, self.held_bytes + count - self._granted_bytes - self._taken_bytes)
        self._check_total(more, leaving)
        if more and more > self._budget.room_bytes - leaving:
            raise self._refusal(more, leaving)

    def _take(self, count: int, leaving: int) -> None:
        self._check_total(count, leaving)
        if not self._budget.take(count, leaving=leaving):
            raise self._refusal(count, leaving)
        self._taken_bytes += count

    def _check_total(self, count: int, leaving: int) -> None:
        if self._taken_bytes + count > self._budget.total_bytes - leaving:
            raise self._too_large(count, leaving)

    def _refusal(self, count: int, leaving: int) -> RequestError:
        """Return why there is no room; where others hold next to nothing, such as connections, there never will be."""
        if self._budget.held_bytes - self._taken_bytes <= self._budget.total_bytes // _NEXT_TO_NOTHING:
            return self._too_large(count, leaving)
        return UnavailableError("too many large requests are on their way: try again later")

    def _too_large(self, count: int, leaving: int) -> TooLargeError:
        wanted, most = self._taken_bytes + count, self._budget.total_bytes - leaving
        return TooLargeError(
            f"the request needs {wanted:,} bytes of memory, and may have {most:,}: send smaller batches, or binary "
            "tensors in place of JSON"
        )

    def __del__(self) -> None:
        if self._taken_bytes:
            self._budget.give(self._taken_bytes)


def hold(count: int) -> None:
    """Count bytes that are about to be made for the request that this thread is at, where there is one.

    Raises:
        TooLargeError, UnavailableError: as `Holding.grow`.
    """
    if count > LARGE_BYTES and here.holding is not None:
        here.holding.grow(count)


here = _Here()
UNBOUNDED = MemoryBudget(2**63)
"""For requests that no server counts, such as those of tests and of other programs."""
