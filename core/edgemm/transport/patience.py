"""The patience of one HTTP request: how long it may take, and how slowly its bytes may come. Pure.

A server, or whoever holds its address, may answer one byte a second for ever, and a timeout for each byte never passes.
So there are three limits, which are the same for devices and for operators:

* the head of an answer is there `slow_s` after the request was sent, whatever comes before it;
* of a body that goes or comes, at least `min_bytes_per_s` × `slow_s` bytes move in each `slow_s` that is spent waiting
  for them: a link of 2 kB/s makes progress, and a trickle of one byte a second is given up after a minute;
* a request for a document, as opposed to a blob, is over `document_s` after it began.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgemm.errors import UnreachableError

_MAX_IDLE_BYTES = 256 * 1024
"""`100 Continue`, and a trailer, may be said again and again: bytes in a row that carry nothing of a body."""


@dataclass(frozen=True)
class HttpPatience:
    """How long a client waits, and whether it asks once more over a kept connection that the server has closed."""

    connect_timeout_s: float
    """For the server's name, TCP and TLS together."""

    read_timeout_s: float
    """Longest silence inside one answer."""

    repeat: bool = False

    slow_s: float = 60.0
    """Time for the head of an answer, and for `min_bytes_per_s` to be judged by."""

    min_bytes_per_s: int = 1024
    """Bodies that move more slowly are given up."""

    document_s: float = 300.0
    """Time for a whole request, unless it is for a blob."""


class Pace:
    """What one request has taken so far; it begins while its own body is sent.

    Only time that is spent waiting for the other side counts as slow: who writes what came to a bad card is not it.
    """

    def __init__(self, patience: HttpPatience, *, until_s: float = math.inf) -> None:
        self._patience, self._until_s = patience, until_s
        self._waited_s, self._bytes, self._idle_bytes = 0.0, 0, 0
        self._in_head = False

    def asked(self) -> None:
        """Note that the request is sent: from now on the head of the answer is awaited."""
        self._waited_s, self._idle_bytes, self._in_head = 0.0, 0, True

    def answered(self) -> None:
        """Note that the head came: from now on the body is awaited."""
        self._waited_s, self._bytes, self._in_head = 0.0, 0, False

    def moved(self, size: int) -> None:
        """Note that so many bytes of a body were sent, or came."""
        self._bytes += size
        self._idle_bytes = 0

    def came(self, size: int) -> None:
        """Note that the connection brought so many bytes, of whatever.

        Raises:
            UnreachableError: they are many, and none of them was of a body.
        """
        self._idle_bytes += size
        if self._idle_bytes > _MAX_IDLE_BYTES:
            raise UnreachableError(f"no answer in {self._idle_bytes:,} bytes; is it a fleet manager?")

    def waited(self, seconds: float) -> None:
        """Note that so long was spent waiting."""
        self._waited_s += seconds

    def left_s(self, now_s: float) -> float:
        """Return for how long the next wait may last, above 0.

        Raises:
            UnreachableError: a limit is passed.
        """
        if now_s >= self._until_s:
            raise UnreachableError("the answer was not whole in time; try again")
        slow_s = self._patience.slow_s
        if self._waited_s >= slow_s:
            self._judge(slow_s)
        return min(self._until_s - now_s, slow_s - self._waited_s)

    def _judge(self, slow_s: float) -> None:
        if self._in_head:
            raise UnreachableError(f"no answer in {slow_s:g} s; try again")
        least = math.ceil(self._patience.min_bytes_per_s * slow_s)
        if self._bytes < least:
            raise UnreachableError(f"{self._bytes:,} bytes in {slow_s:g} s, expected at least {least:,}; try again")
        self._waited_s, self._bytes = 0.0, 0
