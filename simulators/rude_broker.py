"""A broker that lets anybody in and then sends a packet that no client can read.

with RudeBroker() as broker:
    …
    assert broker.wait_for_connections(2)
"""

from __future__ import annotations

import socket
import threading

from simulators.door import Door

_CONNACK = bytes([0x20, 2, 0, 0])
_UNREADABLE_TOPIC = bytes([0x30, 5, 0, 2, 0xFF, 0xFE, 0x78])
"""A PUBLISH whose topic is no UTF-8."""
_CUT_SHORT = bytes([0x30, 1, 0])
"""A PUBLISH without the length of its topic."""


class RudeBroker(Door):
    """Never hangs up by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._connections = 0
        self._changed = threading.Condition()

    def wait_for_connections(self, number: int, timeout_s: float = 60.0) -> bool:
        """Wait until so many connections were made."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connections >= number, timeout_s)

    def serve(self, connection: socket.socket) -> None:
        """Let the client in, be rude, and wait for it to go."""
        connection.recv(4096)
        with self._changed:
            rudeness = _UNREADABLE_TOPIC if self._connections % 2 else _CUT_SHORT
        connection.sendall(_CONNACK + rudeness)
        with self._changed:
            self._connections += 1
            self._changed.notify_all()
        while connection.recv(4096):
            pass
