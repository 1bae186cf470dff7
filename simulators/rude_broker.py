"""A broker that lets anybody in and then sends a packet that no client can read.

with RudeBroker() as broker:
    …
    assert broker.wait_for_connections(2)
"""

from __future__ import annotations

import socket
import threading
from typing import Self

_CONNACK = bytes([0x20, 2, 0, 0])
_UNREADABLE_TOPIC = bytes([0x30, 5, 0, 2, 0xFF, 0xFE, 0x78])
"""A PUBLISH whose topic is no UTF-8."""
_CUT_SHORT = bytes([0x30, 1, 0])
"""A PUBLISH without the length of its topic."""


class RudeBroker:
    """Listens on a loopback port; a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._connections: list[socket.socket] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def wait_for_connections(self, number: int, timeout_s: float = 60.0) -> bool:
        """Wait until so many connections were made."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._connections) >= number, timeout_s)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.recv(4096)
            connection.sendall(_CONNACK + (_UNREADABLE_TOPIC if len(self._connections) % 2 else _CUT_SHORT))
            with self._changed:
                self._connections.append(connection)
                self._changed.notify_all()
