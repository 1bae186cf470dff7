"""A body that a thread reads while it arrives: the event loop puts in, and the thread waits.

How slowly a body may come is the event loop's matter, which ends one that is too slow by `fail`.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from edgemm.errors import BadRequestError

_FULL_BYTES = 256 * 1024
_WELCOME_BYTES = 64 * 1024


class Upload(io.RawIOBase):
    """A pipe of bounded size; `wanted` is called in the reading thread when there is room again."""

    def __init__(self, wanted: Callable[[], None]) -> None:
        super().__init__()
        self._wanted = wanted
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._held = 0
        self._full = self._ended = self._failed = False
        self.size = 0
        """How many bytes have come."""

    @property
    def full(self) -> bool:
        """Whether nothing more is to be put in until `wanted` was called."""
        return self._full

    def put(self, data: bytes) -> None:
        """Take the next bytes."""
        with self._changed:
            self.size += len(data)
            self._pieces.append(memoryview(data))
            self._held += len(data)
            self._full = self._held >= _FULL_BYTES
            self._changed.notify()

    def end(self) -> None:
        """Tell that the body is whole."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def fail(self) -> None:
        """Tell that no more will come, whoever waits for it: the client is gone, or too slow."""
        with self._changed:
            self._failed = True
            self._pieces.clear()
            self._changed.notify()

    def readable(self) -> bool:
        """Tell that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what has come, at least a byte of it; 0 at the end.

        Raises:
            BadRequestError: the body broke off.
        """
        with self._changed:
            while not (self._pieces or self._ended or self._failed):
                self._changed.wait()
            if self._failed:
                raise BadRequestError("the body of the request broke off: send it again")
            if not self._pieces:
                return 0
            piece = self._pieces.popleft()
            count = min(len(buffer), len(piece))
            buffer[:count] = piece[:count]
            if count < len(piece):
                self._pieces.appendleft(piece[count:])
            self._held -= count
            resume = self._full and self._held <= _WELCOME_BYTES
            self._full = self._full and not resume
        if resume:
            self._wanted()
        return count
