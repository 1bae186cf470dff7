"""One client's connection, as its event loop keeps it."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from enum import Enum

from edgemm_runtime.http.exchange import Head
from edgemm_runtime.http.receiver import Receiver

_CHUNK_BYTES = 64 * 1024  # more would come from mmap and go back, at every read


class Phase(Enum):
    """What a connection is at."""

    HANDSHAKE = "handshake"
    READING = "reading"
    ANSWERING = "answering"
    LINGERING = "lingering"
    """Answered and closed by us; what the client still sends is read and dropped (RFC 9112, section 9.6)."""


class Connection:
    """A socket that never blocks, what came of it, and what is still to be sent."""

    def __init__(self, sock: socket.socket, receiver: Receiver, *, now_s: float) -> None:
        self.sock, self.receiver = sock, receiver
        self.descriptor = sock.fileno()
        self.phase = Phase.HANDSHAKE if isinstance(sock, ssl.SSLSocket) else Phase.READING
        self.since_s = now_s
        """When the phase, or the request that is being read, began."""
        self.keep_alive = True
        self.asked: Head | None = None
        """The head of the request that is answered, None where that was never whole."""
        self.watched = select.EPOLLIN
        """The events that the loop has asked for."""
        self._unsent = memoryview(b"")

    @property
    def sending(self) -> bool:
        """Whether part of an answer has not been taken by the kernel yet."""
        return bool(self._unsent)

    def shake_hands(self) -> int:
        """Go on with the TLS handshake; return the events to wait for, 0 once it is done.

        Raises:
            OSError: it failed.
        """
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT
        self.phase = Phase.READING
        return 0

    def read(self) -> bytes | None:
        """Return what has arrived, None where that is nothing, and `b""` at the client's end.

        Raises:
            OSError: the connection broke.
        """
        try:
            return self.sock.recv(_CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def pending(self) -> bool:
        """Whether TLS holds bytes that the kernel tells no loop about."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def send(self, data: bytes) -> None:
        """Send an answer, as much as goes now; `flush` sends the rest.

        Raises:
            OSError: the connection broke.
        """
        sent = self._send(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]

    def flush(self) -> None:
        """Send more of what is left; raises as `send`."""
        self._unsent = self._unsent[self._send(self._unsent) :]

    def close(self) -> None:
        """Close at once."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket) and self.phase is not Phase.HANDSHAKE:
                self.sock.unwrap()  # tells the client that this is the end and no attack
        self.sock.close()

    def close_sending(self) -> None:
        """Tell the client that no more comes, and go on reading."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
