"""A TCP forwarder in front of a fleet manager: it holds back downloads, or cuts the line.

with Gate(to=fleet.port) as gate:
    gate.hold(b"GET /api/v1/blobs/")  # from now on such requests wait
    gate.open()
"""

from __future__ import annotations

import socket
import threading

from simulators.door import Door


class Gate(Door):
    """Forwards connections of the loopback interface."""

    def __init__(self, *, to: int) -> None:
        super().__init__()
        self._to = to
        self._held: bytes | None = None
        self._opened = threading.Event()
        self.waiting = threading.Event()
        """Set once a request is held."""

    def hold(self, text: bytes) -> None:
        """Let requests with a text wait until `open`."""
        self._opened.clear()
        self.waiting.clear()
        self._held = text

    def open(self) -> None:
        """Let everything through."""
        self._held = None
        self._opened.set()

    def serve(self, connection: socket.socket) -> None:
        """Carry one connection."""
        self.join(connection, self.dial(self._to), self._passing)

    def __exit__(self, *exc: object) -> None:
        self.open()
        super().__exit__(*exc)

    def _passing(self, data: bytes) -> None:
        if self._held is not None and self._held in data:
            self.waiting.set()
            self._opened.wait()
