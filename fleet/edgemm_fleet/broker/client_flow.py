"""The flow of one client's packets into the embedded broker: as many as are passed on, and no more.

A packet is read whole, within a limit, and only while not too much of its client is under way. What the client sends
beyond stays in its own socket, and holds up itself alone. Nothing of it is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter

_KIB = 1024
_MAX_PACKET_BYTES = 64 * _KIB
"""No packet of this fleet is larger; amqtt would hold 256 MiB for whoever it has let in."""
_CLIENT_BYTES = 256 * _KIB
_WHOLE_BYTES = 32 * _KIB * _KIB
_MODEST_BYTES = 1
"""Where all clients together have too much under way, each may have one message."""
_UNANSWERED = 256
_LENGTH_BYTES = 4
_PUBLISH, _PINGREQ = 3, 12


class WholeFlow:
    """What is under way of all clients, in bytes."""

    def __init__(self) -> None:
        self.size = 0

    @property
    def client_bytes(self) -> int:
        """How much each client may have under way."""
        return _CLIENT_BYTES if self.size < _WHOLE_BYTES else _MODEST_BYTES


class ClientFlow:
    """What is under way of one client: messages that are not passed on, and packets that are not answered."""

    def __init__(self, whole: WholeFlow) -> None:
        self._whole = whole
        self._size = self._unanswered = 0
        self._limited, self._closed = True, False
        self._changed = asyncio.Event()

    def unlimited(self) -> None:
        """Let everything pass: the manager has to be heard, so that what it waits for gets through."""
        self._limited = False

    async def turn(self) -> None:
        """Wait until the client may send another packet."""
        while self._limited and (self._size >= self._whole.client_bytes or self._unanswered >= _UNANSWERED):
            self._changed.clear()
            await self._changed.wait()

    def came(self, kind: int) -> None:
        """Note a packet."""
        if kind in {_PUBLISH, _PINGREQ}:
            self._unanswered += 1

    def answered(self) -> None:
        """Note that a packet was answered."""
        self._unanswered -= 1
        self._changed.set()

    def began(self, size: int) -> None:
        """Note a message of so many bytes."""
        self._size += size
        self._whole.size += size

    def passed_on(self, size: int, tasks: Iterable[asyncio.Future[Any]]) -> None:
        """Note that a message is being sent by `tasks`; when all are done, it is no longer under way."""
        waiting = set(tasks)

        def done(task: asyncio.Future[Any]) -> None:
            waiting.discard(task)
            if not waiting:
                self._ended(size)

        for task in list(waiting):
            task.add_done_callback(done)
        if not waiting:
            self._ended(size)

    def close(self) -> None:
        """Forget what is under way: the client is gone."""
        self._whole.size -= self._size
        self._size, self._closed = 0, True

    def _ended(self, size: int) -> None:
        if not self._closed:
            self._size -= size
            self._whole.size -= size
            self._changed.set()


class PacketReader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """Hands out packets piece by piece, as amqtt asks for them, after it has read each whole (MQTT 3.1.1, 2.2.3)."""

    def __init__(self, reader: asyncio.StreamReader, flow: ClientFlow) -> None:
        super().__init__(reader)
        self.flow = flow
        self._source = reader
        self._packet, self._at = b"", 0
        self._over = False

    @property
    def is_at_end(self) -> bool:
        """Whether the client is gone and has left nothing to read."""
        return bool(self._source.at_eof())

    async def read(self, n: int = -1) -> bytes:
        """Read `n` bytes of a packet; after one that is too large the connection is as if it had broken off."""
        if n == 0:
            return b""
        if self._over:
            raise ConnectionResetError("the packet before was too large, or cut short")
        if self._at >= len(self._packet):
            await self._next_packet()
        end = self._at + n
        piece, self._at = self._packet[self._at : end], end
        if len(piece) < n:
            self._over = True
            raise ConnectionResetError("a packet that is shorter than what is in it")
        return piece

    async def prefetch(self) -> None:
        """Read the first packet whole, so that whoever looks at it waits for nobody."""
        await self._next_packet()

    async def _next_packet(self) -> None:
        await self.flow.turn()
        head = await self._source.readexactly(1)
        self._over = True  # whoever is interrupted from here on has lost its place
        length = 0
        for place in range(_LENGTH_BYTES):
            head += await self._source.readexactly(1)
            length |= (head[-1] & 0x7F) << 7 * place
            if not head[-1] & 0x80:
                break
        if head[-1] & 0x80 or length > _MAX_PACKET_BYTES:
            raise ConnectionResetError(f"a packet of {length:,} bytes, the limit is {_MAX_PACKET_BYTES:,}")
        self._packet, self._at = head + await self._source.readexactly(length), 0
        self.flow.came(head[0] >> 4)
        self._over = False


class ClientWriter(StreamWriterAdapter):  # type: ignore[misc]
    """Closes without a word where the client has reset the connection; amqtt passes on what asyncio says of it."""

    async def close(self) -> None:
        """Close; a client that is gone is no failure."""
        with suppress(OSError):
            await super().close()
