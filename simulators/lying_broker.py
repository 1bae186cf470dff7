"""A broker that lies: everybody's way to a real one, on which packets are lost, doubled, put off and made up.

    with LyingBroker(port) as broker:              # devices and manager connect to broker.port
        broker.lie = lambda packet: [packet.raw, packet.raw]      # everything twice
        broker.withhold(lambda packet: packet.topic.endswith("/desired"))
        broker.let_go(last_first=True)
        broker.say("cam-1", published(topic, payload))

MQTT 3.1.1 over plain TCP, which is what devices and managers speak on loopback.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from simulators.door import Door, shut

_CONNECT, _PUBLISH = 1, 3
LARGEST_BYTES = 268_435_455
"""What follows the head of the longest packet that MQTT knows."""


@dataclass(frozen=True)
class Packet:
    """One packet on its way; `topic` is empty but for PUBLISH."""

    raw: bytes
    kind: int
    body: bytes
    to_client: bool
    client: str

    @property
    def topic(self) -> str:
        """Where it is published."""
        if self.kind != _PUBLISH:
            return ""
        return self.body[2 : 2 + int.from_bytes(self.body[:2])].decode(errors="replace")


def honest(packet: Packet) -> Iterable[bytes]:
    """Pass a packet on."""
    return (packet.raw,)


@dataclass
class _Line:
    """One client's connection; what is written to either end is written whole."""

    near: socket.socket
    far: socket.socket
    client: str = ""
    near_lock: threading.Lock = field(default_factory=threading.Lock)
    far_lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, data: bytes, *, to_client: bool) -> None:
        lock, end = (self.near_lock, self.near) if to_client else (self.far_lock, self.far)
        with lock:
            end.sendall(data)


class LyingBroker(Door):
    """Stands before the broker at `behind`; honest until told otherwise."""

    def __init__(self, behind: int) -> None:
        super().__init__()
        self._behind = behind
        self.lie: Callable[[Packet], Iterable[bytes]] = honest
        """What becomes of a packet: the bytes to send in its place."""
        self._lines: list[_Line] = []
        self._withheld: list[tuple[_Line, Packet]] = []
        self._chosen: Callable[[Packet], bool] | None = None

    def be_honest(self) -> None:
        """Stop lying; what is withheld is lost."""
        self.lie, self._chosen = honest, None
        self._withheld.clear()

    def withhold(self, which: Callable[[Packet], bool]) -> None:
        """Keep packets from now on, in the order in which they come."""
        self._chosen = which

    def withheld(self) -> int:
        """Return how many packets wait."""
        return len(self._withheld)

    def let_go(self, *, last_first: bool = False) -> None:
        """Deliver what was withheld to the lines that are still there."""
        self._chosen = None
        waiting, self._withheld = self._withheld, []
        for line, packet in reversed(waiting) if last_first else waiting:
            with suppress(OSError):
                line.write(packet.raw, to_client=packet.to_client)

    def say(self, client: str, raw: bytes) -> None:
        """Send made-up bytes to a client, by the beginning of its id."""
        self._line(client).write(raw, to_client=True)

    def flood(self, client: str, topic: str) -> int:
        """Send a client the longest packet there is; return how many bytes of it it took before it hung up."""
        line, sent, name = self._line(client), 0, topic.encode()
        head, piece = b"\x30\xff\xff\xff\x7f" + len(name).to_bytes(2) + name, b"\0" * 65536
        last = LARGEST_BYTES + 5
        with line.near_lock, suppress(OSError):
            line.near.sendall(head)
            sent = len(head)
            while sent < last:
                sent += line.near.send(piece[: last - sent])
        shut(line.near)
        return sent

    def clients(self) -> set[str]:
        """Return the ids of those that are connected, or were."""
        return {line.client for line in self._lines}

    def serve(self, connection: socket.socket) -> None:
        """Carry one client's packets."""
        line = _Line(connection, self.dial(self._behind))
        back = self._run(lambda: self._carry(line, to_client=True))
        self._carry(line, to_client=False)
        back.join()

    def _carry(self, line: _Line, *, to_client: bool) -> None:
        with suppress(OSError):
            for raw, kind, body in _packets(line.far if to_client else line.near):
                if kind == _CONNECT:
                    line.client = _client_id(body)
                    self._lines.append(line)
                self._pass(line, Packet(raw, kind, body, to_client, line.client))
        shut(line.near)
        shut(line.far)

    def _pass(self, line: _Line, packet: Packet) -> None:
        if self._chosen is not None and self._chosen(packet):
            self._withheld.append((line, packet))
            return
        for raw in self.lie(packet):
            line.write(raw, to_client=packet.to_client)

    def _line(self, client: str) -> _Line:
        """Return a client's newest connection."""
        return next(line for line in reversed(self._lines) if line.client.startswith(client))


def published(topic: str, payload: bytes, *, retain: bool = False) -> bytes:
    """Return a PUBLISH of QoS 0."""
    name = topic.encode()
    body = len(name).to_bytes(2) + name + payload
    return bytes([0x30 | retain]) + _length(len(body)) + body


def _length(number: int) -> bytes:
    """Encode a length of MQTT: seven bits a byte, the lowest first."""
    found = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        found.append(low | (0x80 if number else 0))
        if not number:
            return bytes(found)


def _packets(source: socket.socket) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield each packet that comes: all its bytes, its kind, and what follows the head."""
    with source.makefile("rb") as stream:
        while head := stream.read(1):
            length, shift, raw = 0, 0, head
            while True:
                byte = stream.read(1)
                raw += byte
                length |= (byte[0] & 0x7F) << shift
                shift += 7
                if not byte[0] & 0x80:
                    break
            body = stream.read(length)
            yield raw + body, head[0] >> 4, body


def _client_id(connect: bytes) -> str:
    """Read the id in a CONNECT: it follows the protocol's name, level, flags and keep-alive."""
    at = 2 + int.from_bytes(connect[:2]) + 4
    return connect[at + 2 : at + 2 + int.from_bytes(connect[at : at + 2])].decode()
