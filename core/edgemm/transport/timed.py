"""Connections of urllib3 that keep to the pace of the request that they carry, and that can be interrupted.

Every wait for the server goes through here: the look-up of its name, TCP and TLS together, each send, each receive.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError
from urllib3.response import HTTPResponse

from edgemm.errors import UnreachableError
from edgemm.transport.patience import HttpPatience, Pace
from edgemm.transport.within import LOOK_S, within

if TYPE_CHECKING:
    from typing_extensions import Buffer


_TCP_NOTSENT_LOWAT = 25
_UNSENT_BYTES = 32 * 1024
"""What of a body may wait in the kernel (tcp(7)): with megabytes there, nobody could tell how fast a slow link is."""


class Attempt:
    """One request on its way; `interrupt` ends it at its next look."""

    def __init__(self, patience: HttpPatience, interrupt: threading.Event, *, until_s: float) -> None:
        self.pace = Pace(patience, until_s=until_s)
        self.silence_s, self.connect_s = patience.read_timeout_s, patience.connect_timeout_s
        self._interrupt = interrupt

    def left_s(self) -> float:
        """Return for how long the next wait may last.

        Raises:
            UnreachableError: a limit is passed, or the request is interrupted.
        """
        if self._interrupt.is_set():
            raise UnreachableError("the request was interrupted")
        return self.pace.left_s(time.monotonic())

    def within_silence(self, waiting: socket.socket, move: Callable[[], int]) -> int:
        """Return how many bytes a send or receive moved, as soon as it moved some.

        Raises:
            UnreachableError: as `left_s`.
            TimeoutError: none moved for too long.
        """
        silent_until_s = time.monotonic() + self.silence_s
        while True:
            now_s = time.monotonic()
            left_s = min(self.left_s(), silent_until_s - now_s)
            if left_s <= 0:
                raise TimeoutError("timed out")
            waiting.settimeout(min(left_s, LOOK_S))
            try:
                return move()
            except TimeoutError:
                continue
            finally:
                self.pace.waited(time.monotonic() - now_s)


_attempt: ContextVar[Attempt] = ContextVar("attempt")


@contextmanager
def carrying(attempt: Attempt) -> Iterator[None]:
    """Have what is sent in the block keep to the pace of this attempt, and its answer, too."""
    before = _attempt.set(attempt)
    try:
        yield
    finally:
        _attempt.reset(before)


class _TimedSocket:
    """A connected socket, or TLS socket, whose waits are those of the attempt that it carries."""

    def __init__(self, inner: socket.socket, attempt: Attempt) -> None:
        self._inner, self.attempt = inner, attempt

    def __getattr__(self, name: str) -> Any:
        """Return what the socket itself has."""
        return getattr(self._inner, name)

    def sendall(self, data: bytes) -> None:
        """Send all of it, as `socket.sendall`."""
        attempt, left = self.attempt, memoryview(data)
        while left:
            size = attempt.within_silence(self._inner, partial(self._inner.send, left))
            attempt.pace.moved(size)
            left = left[size:]

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader of what comes, as `socket.makefile`."""
        assert mode == "rb"
        return io.BufferedReader(_TimedReader(self._inner, self.attempt))


class _TimedReader(io.RawIOBase):
    """What comes over a socket; the socket stays open until this is closed, too, as with `socket.makefile`."""

    def __init__(self, inner: socket.socket, attempt: Attempt) -> None:
        super().__init__()
        self._inner, self._attempt = inner, attempt
        self._hold = inner.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Wait for bytes, in pieces that can be interrupted."""
        size = self._attempt.within_silence(self._inner, lambda: self._inner.recv_into(buffer))
        self._attempt.pace.came(size)
        return size

    def close(self) -> None:
        """Let the socket be closed."""
        self._hold.close()
        super().close()


def _connected(connection: HTTPConnection, connect: Callable[[], None]) -> None:
    attempt = _attempt.get()
    try:
        within(
            min(attempt.connect_s, attempt.left_s()),
            connect,
            late=lambda _: connection.close(),
            check=attempt.left_s,
            expected=(OSError, ValueError, HTTPError),
        )
    except TimeoutError as err:
        raise ConnectTimeoutError(connection, "timed out") from err
    connection.sock = _TimedSocket(connection.sock, attempt)


def _carry(connection: HTTPConnection) -> None:
    """Have a kept connection keep to the pace of the request that it carries now."""
    if isinstance(connection.sock, _TimedSocket):
        connection.sock.attempt = _attempt.get()


class _Connection(HTTPConnection):
    def connect(self) -> None:
        """Connect within the time of the attempt."""
        _connected(self, super().connect)

    def request(self, *args: Any, **how: Any) -> None:
        """Send a request at the pace of the attempt."""
        _carry(self)
        super().request(*args, **how)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Await the head of the answer."""
        pace = _attempt.get().pace
        pace.asked()
        response = super().getresponse()
        pace.answered()
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def timed_pools(**tls: Any) -> urllib3.PoolManager:
    """Return a manager of pools with connections of this module; it is to send inside of `carrying` only."""
    options = [*HTTPConnection.default_socket_options]
    if sys.platform == "linux":
        options.append((socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES))
    manager = urllib3.PoolManager(socket_options=options, **tls)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager
