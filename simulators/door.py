"""A loopback port behind which a test puts whatever it likes: each connection is served in a thread of its own.

A subclass says what it does with a connection (`serve`), such as `RudeBroker`:

    with RudeBroker() as door:
        …                       # door.port
"""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Self

PIECE_BYTES = 65536


class Door(ABC):
    """Listens on a port, a free one by default, while the block lasts; its end, or `hang_up`, ends all connections."""

    def __init__(self, *, port: int = 0, backlog: int = 64) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Speak to one client; it is let go when this returns, or an end of the line is gone."""

    def dial(self, port: int) -> socket.socket:
        """Connect to another loopback port, until this door closes."""
        return self.keep(socket.create_connection(("127.0.0.1", port)))

    def keep(self, end: socket.socket) -> socket.socket:
        """Close this end too when the door closes."""
        self._ends.append(end)
        return end

    def join(self, one: socket.socket, other: socket.socket, passing: Callable[[bytes], object] | None = None) -> None:
        """Carry bytes both ways until either end is gone; `passing` sees, or holds up, what is on its way."""
        back = self._run(lambda: pump(other, one, passing))
        pump(one, other, passing)
        back.join()

    def hang_up(self) -> None:
        """End every connection."""
        for end in self._ends:
            shut(end)

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        shut(self._listener)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _run(self, what: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=what, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.keep(connection)
                self._run(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            self.serve(connection)
        shut(connection)


def pump(source: socket.socket, sink: socket.socket, passing: Callable[[bytes], object] | None = None) -> None:
    """Carry bytes one way until either end is gone, and end both."""
    with suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            if passing is not None:
                passing(data)
            sink.sendall(data)
    shut(source)
    shut(sink)


def shut(end: socket.socket) -> None:
    """End a connection, or a listener's waiting, whoever waits for it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
