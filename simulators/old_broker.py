"""A broker of MQTT 3.1.1 alone, as many homes have one: a real one behind a door that turns MQTT 5 away.

with OldBroker(port) as door:
    connect(door.port)
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

_LEVEL_AT = 8
"""Where CONNECT has the protocol's level, for packets of less than 128 bytes; longer ones have it one byte later."""
_UNACCEPTABLE = bytes([0x20, 2, 0, 1])


class OldBroker:
    """Listens on a loopback port and passes on what speaks MQTT 3.1.1; a context manager."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.turned_away = 0
        self._ends: list[socket.socket] = []
        self._passing: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._passing:
            thread.join()
        for end in self._ends:
            end.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            connect = client.recv(4096)
            if connect[_LEVEL_AT + (connect[1] > 127)] > 4:
                self.turned_away += 1
                client.sendall(_UNACCEPTABLE)
                client.close()
                continue
            broker = socket.create_connection(("127.0.0.1", self._behind))
            broker.sendall(connect)
            self._ends += (client, broker)
            for ends in ((client, broker), (broker, client)):
                self._passing.append(threading.Thread(target=_pass, args=ends, daemon=True))
                self._passing[-1].start()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
