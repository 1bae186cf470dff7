"""A broker of MQTT 3.1.1 alone, as many homes have one: a real one behind a door that turns MQTT 5 away.

with OldBroker(port) as door:
    connect(door.port)
"""

from __future__ import annotations

import socket

from simulators.door import Door

_LEVEL_AT = 8
"""Where CONNECT has the protocol's level, for packets of less than 128 bytes; longer ones have it one byte later."""
_UNACCEPTABLE = bytes([0x20, 2, 0, 1])


class OldBroker(Door):
    """Passes on what speaks MQTT 3.1.1."""

    def __init__(self, behind: int) -> None:
        super().__init__()
        self._behind = behind
        self.turned_away = 0

    def serve(self, connection: socket.socket) -> None:
        """Read the first packet, and go on by what it says."""
        connect = connection.recv(4096)
        if connect[_LEVEL_AT + (connect[1] > 127)] > 4:
            self.turned_away += 1
            connection.sendall(_UNACCEPTABLE)
            return
        broker = self.dial(self._behind)
        broker.sendall(connect)
        self.join(connection, broker)
