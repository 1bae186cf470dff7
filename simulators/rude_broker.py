"""Brokers that let anybody in and then misbehave: one sends what no client can read, one confirms nothing.

with RudeBroker() as broker:
    …
    assert broker.wait_for_connections(2)
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from simulators.door import Door

_CONNACK = bytes([0x20, 2, 0, 0])
_UNREADABLE_TOPIC = bytes([0x30, 5, 0, 2, 0xFF, 0xFE, 0x78])
"""A PUBLISH whose topic is no UTF-8."""
_CUT_SHORT = bytes([0x30, 1, 0])
"""A PUBLISH without the length of its topic."""
_TOO_LONG = b"\x30\xff\xff\xff\x7f"
"""The head of a PUBLISH of 256 MB."""


class _Welcoming(Door):
    """Counts its clients, and never hangs up by itself."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port=port)
        self._connections = 0
        self._changed = threading.Condition()

    def wait_for_connections(self, number: int, timeout_s: float = 60.0) -> bool:
        """Wait until so many connections were made."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connections >= number, timeout_s)

    def serve(self, connection: socket.socket) -> None:
        """Let the client in, misbehave, and wait for it to go."""
        connection.recv(4096)
        with self._changed:
            number = self._connections
        connection.sendall(_CONNACK)
        self.go_on(connection, number)
        with self._changed:
            self._connections += 1
            self._changed.notify_all()
        while connection.recv(4096):
            pass

    def go_on(self, connection: socket.socket, number: int) -> None:
        """Misbehave toward a client; `number` counts them from 0."""


class RudeBroker(_Welcoming):
    """Sends what no client can read."""

    def go_on(self, connection: socket.socket, number: int) -> None:
        """Be rude in one way after the other."""
        connection.sendall(_UNREADABLE_TOPIC if number % 2 else _CUT_SHORT)


class DeafBroker(_Welcoming):
    """Takes everything and confirms nothing."""


class LongWindedBroker(_Welcoming):
    """Sends a packet of 256 MB; `sent_bytes` is how much of them was taken."""

    sent_bytes = 0

    def go_on(self, connection: socket.socket, number: int) -> None:  # noqa: ARG002 - each client gets the same
        """Go on until the client hangs up."""
        connection.sendall(_TOO_LONG)
        with suppress(OSError):
            while self.sent_bytes < 268_435_455:
                self.sent_bytes += connection.send(b"\0" * 65536)
