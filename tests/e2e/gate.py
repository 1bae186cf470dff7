"""A TCP forwarder in front of a fleet manager: it holds back downloads, or cuts the line.

with Gate(to=fleet.port) as gate:
    gate.hold(b"GET /api/v1/blobs/")  # from now on such requests wait
    gate.open()
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

_CHUNK = 65536


class Gate:
    """Forwards connections of the loopback interface; a context manager."""

    def __init__(self, *, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._held: bytes | None = None
        self._opened = threading.Event()
        self._sockets: list[socket.socket] = []
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

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.open()
        for one in (self._server, *self._sockets):
            _close(one)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                if self._server.fileno() < 0:
                    return
                _close(near)
                continue
            self._sockets += [near, far]
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()
            threading.Thread(target=self._forward, args=(far, near), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                if self._held is not None and self._held in data:
                    self.waiting.set()
                    self._opened.wait()
                sink.sendall(data)
        except OSError:
            pass  # one side went away: so does the other
        _close(source)
        _close(sink)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        one.shutdown(socket.SHUT_RDWR)
    one.close()
