"""A pool of interpreters of one model, each of which computes one request at a time.

    member = pool.take()
    try: ...
    finally: pool.give(member)

Members are made when they are needed, at most `size`. The one that was used last is used next, since its memory is
still warm. A member whose thread hangs is given up, and another may be made in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from edgemm.errors import EdgemmError, UnavailableError
from edgemm_runtime.http import hurry

Member = TypeVar("Member")
_WAITING: set[int] = set()


def waits(thread: int) -> bool:
    """Tell whether a thread waits for a member of any pool: it is not in its engine, and does not hang there."""
    return thread in _WAITING


class Pool(Generic[Member]):
    """At most `size` members made by `make`; `first` is one that is there already."""

    def __init__(self, first: Member, make: Callable[[], Member], *, size: int, wait_s: float = 30.0) -> None:
        self._make, self._size, self._wait_s = make, size, wait_s
        self._free = [first]
        self._changed = threading.Condition()
        self._made, self._waiting = 1, 0
        self._given_up: set[int] = set()

    def take(self) -> Member:
        """Return a member that nobody else has until `give`.

        Raises:
            UnavailableError: all were busy for `wait_s` seconds.
            TakesLongError: none is free, and this thread is in a hurry.
        """
        try:
            return self._free.pop()
        except IndexError:
            if hurry.here.hurried:
                raise hurry.TakesLongError("no interpreter of the model is free: try again later") from None
            return self._make_or_wait()

    def give(self, member: Member) -> None:
        """Let others have a member, unless this thread was given up."""
        if self._given_up and threading.get_ident() in self._given_up:
            self._given_up.discard(threading.get_ident())
            return
        self._free.append(member)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def give_up(self, thread: int) -> None:
        """Count the member that a thread has as lost: it hangs there."""
        self._given_up.add(thread)
        self._lose()

    def grow(self, members: int) -> list[Member]:
        """Make members until there are so many, at most `size`; return the new ones, which nobody has taken.

        To be called before the first `take`, or while nobody takes.
        """
        new = [self._make() for _ in range(min(members, self._size) - self._made)]
        self._made += len(new)
        self._free[:0] = new
        return new

    @property
    def busy(self) -> bool:
        """Whether a member is taken, as it looks without a lock."""
        return self._made > len(self._free)

    @property
    def made(self) -> int:
        """How many members there are."""
        return self._made

    def _lose(self) -> None:
        with self._changed:
            self._made -= 1
            self._changed.notify()

    def _make_or_wait(self) -> Member:
        while True:
            member = self._wait()
            if member is not None:
                return member
            try:
                return self._make()
            except (EdgemmError, MemoryError):
                self._lose()
                if not self._made:
                    raise
                self._size = self._made  # no room for one more: those that there are take turns

    def _wait(self) -> Member | None:
        """Return a member, or None for leave to make one."""
        me = threading.get_ident()
        with self._changed:
            self._waiting += 1
            _WAITING.add(me)
            try:
                while True:
                    with suppress(IndexError):
                        return self._free.pop()
                    if self._made < self._size:
                        self._made += 1
                        return None
                    if not self._changed.wait(self._wait_s):
                        raise UnavailableError("all interpreters of the model are busy: try again later")
            finally:
                self._waiting -= 1
                _WAITING.discard(me)
