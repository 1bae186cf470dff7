"""One client's connection, as the event loop keeps it."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import termios
from array import array
from enum import Enum

from edgemm.transport.request_head import Head
from edgemm_fleet.http.answers import FilePart
from edgemm_fleet.http.held_memory import GatheredBody
from edgemm_fleet.http.intake import Intake
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.http.reactor import READABLE, WRITABLE, Reactor
from edgemm_fleet.http.upload import Upload

_NOTHING = memoryview(b"")
_CHUNK_BYTES = 64 * 1024
_SPARED_S = 0.5
"""A connection that was answered so lately may just be about to be used."""
_HURRIED_S = 1.0
"""How long a body may take that is gathered, where others wait for connections."""
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class PeerPhase(Enum):
    """What a connection is at."""

    HANDSHAKE = "handshake"
    READING = "reading"
    """Between requests, or at a head."""
    GATHERING = "gathering"
    """At a body that no thread sees before it is whole."""
    STREAMING = "streaming"
    """At a body that a thread reads as it comes."""
    WORKING = "working"
    """A thread has the whole request."""
    SENDING = "sending"
    LINGERING = "lingering"
    """Answered and closed by us; what the client still sends is read and dropped (RFC 9112, section 9.6)."""


class Peer:
    """A socket that never blocks, what came of it, and what is still to be sent."""

    def __init__(self, sock: socket.socket, *, host: str, address: str, intake: Intake, now_s: float) -> None:
        self.sock, self.host, self.address, self.intake = sock, host, address, intake
        self.descriptor = sock.fileno()
        self.phase = PeerPhase.HANDSHAKE if isinstance(sock, ssl.SSLSocket) else PeerPhase.READING
        self.since_s = now_s
        """When the phase, or the head that is being read, began."""
        self.answered = 0
        """How many requests were: a late answer to an earlier one is none to this."""
        self.head: Head | None = None
        self.keep_alive = True
        self.watched = READABLE
        self.closed = False
        self.lane, self.asked_from = Lane.PUBLIC, address
        """Who answers the request, and the address that it is from."""
        self.body: GatheredBody | None = None
        self.upload: Upload | None = None
        self.file: FilePart | None = None
        self.owner = address
        """Who counts for the download."""
        self.held = 0
        """What the answer holds of the server's memory."""
        self.moved = 0
        """Bytes that came from the client, or were given to the kernel for it."""
        self.marked_s, self.marked = now_s, 0
        """When the pace was looked at, and what had been `exchanged` by then."""
        self._unsent = _NOTHING

    def enter(self, phase: PeerPhase, *, now_s: float) -> None:
        """Begin a phase."""
        self.phase, self.since_s = phase, now_s
        self.marked_s, self.marked = now_s, self.exchanged

    def watch(self, reactor: Reactor, events: int) -> None:
        """Wait for these events of the socket."""
        if events != self.watched:
            self.watched = events
            reactor.watch(self.descriptor, events)

    def forget_request(self) -> None:
        """Drop what has come of a request that is refused before it is whole."""
        self.intake.forget()
        if self.body is not None:
            self.body.drop()
            self.body = None
        if self.upload is not None:
            self.upload.fail()

    def turn(self, now_s: float) -> tuple[int, float] | None:
        """When this connection gives way to others, the least first; None for never."""
        idle = self.phase is PeerPhase.READING and self.answered > 0
        match self.phase:
            case PeerPhase.LINGERING:
                rank = 0
            case PeerPhase.HANDSHAKE | PeerPhase.READING if not idle:
                rank = 1
            case PeerPhase.READING if now_s - self.since_s > _SPARED_S:
                rank = 2
            case PeerPhase.GATHERING if now_s - self.since_s > _HURRIED_S:
                rank = 3
            case _:
                return None
        return rank, self.since_s

    def shake_hands(self) -> int:
        """Go on with the TLS handshake; return the events to wait for, 0 once it is done.

        Raises:
            OSError: it failed.
        """
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return READABLE
        except ssl.SSLWantWriteError:
            return WRITABLE
        return 0

    def read(self) -> bytes | None:
        """Return what has arrived, None where that is nothing, and `b""` at the client's end.

        Raises:
            OSError: the connection broke.
        """
        try:
            return self.sock.recv(_CHUNK_BYTES)
        except _WAIT:
            return None

    @property
    def pending(self) -> bool:
        """Whether TLS holds bytes that the kernel tells nobody about."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that is still to be read."""
        waiting = select.poll()
        waiting.register(self.sock, select.POLLIN)
        return not (self.pending or waiting.poll(0))

    @property
    def sending(self) -> bool:
        """Whether the kernel has not yet taken what it was given."""
        return bool(self._unsent)

    @property
    def exchanged(self) -> int:
        """Bytes that the client has sent or taken: megabytes of an answer may yet wait in the kernel, for minutes."""
        waiting = array("i", [0])
        with contextlib.suppress(OSError, ValueError):
            fcntl.ioctl(self.sock, termios.TIOCOUTQ, waiting)
        return self.moved - waiting[0]

    def send(self, data: bytes | memoryview = b"") -> None:
        """Send, as much as goes now, what is left and then `data`, which is given only where nothing is left.

        Raises:
            OSError: the connection broke.
        """
        if data:
            assert not self._unsent
            self._unsent = memoryview(data)
        try:
            sent = self.sock.send(self._unsent)
        except _WAIT:
            return
        self.moved += sent
        self._unsent = self._unsent[sent:] or _NOTHING  # an empty view would keep the whole answer

    def close_sending(self) -> None:
        """Tell the client that no more comes, and go on reading."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at once, and whatever belongs to the request."""
        self.closed = True
        if self.upload is not None:
            self.upload.fail()
        if self.file is not None:
            self.file.close()
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket) and self.phase is not PeerPhase.HANDSHAKE:
                self.sock.unwrap()  # tells the client that this is the end and no attack
        self.sock.close()
