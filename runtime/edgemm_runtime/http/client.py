"""One client's connection, as its event loop keeps it."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from enum import Enum

from edgemm.transport.request_head import Head
from edgemm_runtime.http.receiver import GRANTED_BYTES, Receiver
from edgemm_runtime.memory.memory_budget import Holding

_NOTHING = memoryview(b"")
_TLS_BYTES = 64 * 1024
"""What TLS keeps for a connection: its state, and a record in each direction."""
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

    def __init__(self, sock: socket.socket, receiver: Receiver, holding: Holding, *, now_s: float) -> None:
        self.sock, self.receiver = sock, receiver
        self.holding = holding
        """What the connection itself holds of the server's memory, with answers that are not sent yet."""
        self.descriptor = sock.fileno()
        self._own_bytes = _TLS_BYTES if isinstance(sock, ssl.SSLSocket) else GRANTED_BYTES
        self.phase = Phase.HANDSHAKE if isinstance(sock, ssl.SSLSocket) else Phase.READING
        self.since_s = now_s
        """When the phase, or the request that is being read, began."""
        self.keep_alive = True
        self.asked: Head | None = None
        """The head of the request that is answered, None where that was never whole."""
        self.watched = select.EPOLLIN
        """The events that the loop has asked for."""
        self.sending_s, self.sent_bytes = now_s, 0
        """Since when an answer waits for its client, and what of it was taken meanwhile."""
        self._unsent = _NOTHING

    def hold_itself(self) -> None:
        """Hold what an open connection takes, and no answer any more."""
        if (more := self.holding.held_bytes - self._own_bytes) > 0:
            self.holding.shrink(more)
        elif more < 0:
            self.holding.grow_anyway(-more)

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

    def quiet(self) -> bool:
        """Whether nothing has arrived that was not read yet."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return not poll.poll(0)

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
            self.sent_bytes = 0
            self._unsent = memoryview(data)[sent:]

    def flush(self) -> None:
        """Send more of what is left; raises as `send`."""
        sent = self._send(self._unsent)
        self.sent_bytes += sent
        left = self._unsent[sent:]
        self._unsent = left or _NOTHING  # an empty view would keep the whole answer

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
