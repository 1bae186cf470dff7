"""Devices that send their windows over MQTT, many in one process, as honest ones do.

Each has a connection of its own, over TLS or not, and no more than `in_flight` windows unacknowledged. What is not
acknowledged within 30 s it sends again. The loop that throws away acknowledges nothing: its senders look at its
counter.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ingest.fleet_of_senders import PASSWORD, Windows, name
from edgemm import topics
from edgemm.messages import Ack, decode_control
from edgemm.topics import Channel
from edgemm.trust.tls import pinned_context
from simulators.broker import FLEET
from simulators.mqtt_packets import connect_packet, publish_packet, subscribe_packet

_AGAIN_AFTER_S = 30.0
_LOST_AFTER_S = 1.0
_PAUSE_S = 0.002
_LOOK_S = 0.05
_CONNECTS_AT_ONCE = 50
_CONNACK, _PUBLISH, _SUBACK = 2, 3, 9
_PUBACK_HEAD, _PUBACK_BYTES = b"\x40\x02", 4
_IDS = 65_535


@dataclass(frozen=True)
class Task:
    """What a process of senders does."""

    devices: Sequence[int]
    windows: int
    """Of each device."""

    in_flight: int
    port: int
    ca: str | None
    thrown_away: Any
    """A shared number that the loop which throws away counts up; None: the manager acknowledges."""

    share: float
    """Of all windows, those that this process sends."""


@dataclass
class Ready:
    """What processes tell each other."""

    there: Any
    """A semaphore: one release for each process whose devices are all connected."""
    go: Any
    ended: Any
    """A queue of (when it began, when all was acknowledged, windows sent again), by `time.monotonic`."""


class Sender(asyncio.Protocol):
    """One device."""

    def __init__(self, number: int, task: Task) -> None:
        self._windows, self._task, self._name = Windows(number), task, name(number)
        self.packets = [b""] + [
            publish_packet(self._windows.topic, self._windows.payload(n), qos=1, message_id=(n - 1) % _IDS + 1)
            for n in range(1, task.windows + 1)
        ]
        self.sent = self.acknowledged = self.again = 0
        self.heard_s = 0.0
        self.subscribed = asyncio.Event()
        self.done = asyncio.Event()
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in, and ask for acknowledgements."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(connect_packet(self._name, (self._name, PASSWORD)))
        transport.write(subscribe_packet(1, topics.topic(FLEET, self._name, Channel.ACK)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it: no sender hangs up before it is done."""
        assert self.done.is_set(), f"{self._name}: the broker hung up: {exc}"

    def data_received(self, data: bytes) -> None:
        """Take packets of the broker."""
        confirmed = bytearray()
        for kind, body in self._packets(data):
            if kind == _SUBACK:
                self.subscribed.set()
            elif kind == _CONNACK:
                assert body[1] == 0, f"{self._name} is not let in"
            elif kind == _PUBLISH:
                start = 2 + int.from_bytes(body[:2], "big")
                confirmed += b"\x40\x02" + body[start : start + 2]
                self._hear(decode_control(body[start + 2 :], Ack))
        if confirmed:
            self._transport.write(bytes(confirmed))

    def _packets(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the packets that came but PUBACKs, of which there is one for each window."""
        self._read += data
        at = 0
        while True:
            while self._read.startswith(_PUBACK_HEAD, at) and at + _PUBACK_BYTES <= len(self._read):
                at += _PUBACK_BYTES
            if (found := _length_at(self._read, at + 1)) is None:
                break
            length, start = found
            if start + length > len(self._read):
                break
            yield self._read[at] >> 4, self._read[start : start + length]
            at = start + length
        self._read = self._read[at:]

    def _hear(self, ack: Ack) -> None:
        self.acknowledged = max(self.acknowledged, *(one.sequence for one in ack.acks))
        self.heard_s = time.monotonic()
        if self.acknowledged >= self._task.windows:
            self.done.set()
        else:
            self.send(self.acknowledged + self._task.in_flight)

    def send(self, up_to: int) -> None:
        """Send what is new, up to a number."""
        up_to = min(up_to, self._task.windows)
        if up_to > self.sent:
            self._transport.write(b"".join(self.packets[self.sent + 1 : up_to + 1]))
            self.sent = up_to

    def send_again(self) -> None:
        """Send what is not acknowledged."""
        self.heard_s = time.monotonic()
        self.again += self.sent - self.acknowledged
        self._transport.write(b"".join(self.packets[self.acknowledged + 1 : self.sent + 1]))

    def close(self) -> None:
        """Hang up."""
        self.done.set()
        self._transport.close()


def _length_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Return the remaining length of a packet and where its body begins; None where that did not come yet."""
    length = shift = 0
    while at < len(data):
        length |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return length, at
    return None


def send(task: Task, ready: Ready) -> None:
    """Be a process of devices."""
    asyncio.run(_send(task, ready))


async def _send(task: Task, ready: Ready) -> None:
    loop, context = asyncio.get_running_loop(), None if task.ca is None else pinned_context(task.ca)
    senders = [Sender(number, task) for number in task.devices]
    for begin in range(0, len(senders), _CONNECTS_AT_ONCE):
        some = senders[begin : begin + _CONNECTS_AT_ONCE]
        host = None if context is None else "127.0.0.1"
        for one in some:
            await loop.create_connection(lambda one=one: one, "127.0.0.1", task.port, ssl=context, server_hostname=host)
        for one in some:
            await one.subscribed.wait()
    ready.there.release()
    await loop.run_in_executor(None, ready.go.wait)
    begun_s = time.monotonic()
    for one in senders:
        one.heard_s = begun_s
    ended_s = await (_until_acknowledged if task.thrown_away is None else _until_thrown_away)(senders, task)
    ready.ended.put(json.dumps([begun_s, ended_s, sum(one.again for one in senders)]))
    for one in senders:
        one.close()
    await asyncio.sleep(_LOOK_S)


async def _until_acknowledged(senders: Sequence[Sender], task: Task) -> float:
    """Go ahead of what was acknowledged; return when the last window was."""
    for one in senders:
        one.send(task.in_flight)
    waiting = list(senders)
    while waiting := [one for one in waiting if not one.done.is_set()]:
        now_s = time.monotonic()
        for one in waiting:
            if now_s - one.heard_s > _AGAIN_AFTER_S:
                one.send_again()
        await asyncio.sleep(_LOOK_S)
    return max(one.heard_s for one in senders)


async def _until_thrown_away(senders: Sequence[Sender], task: Task) -> float:
    """Go ahead of what was counted by as much as devices go ahead of what was acknowledged; return the end of it.

    Nothing is sent again: where no more is counted for a while, the broker has dropped the rest.
    """
    wanted, before, moved_s = task.windows * len(senders), 0.0, time.monotonic()
    while before < wanted - 1 and time.monotonic() - moved_s < _LOST_AFTER_S:
        if (counted := task.share * task.thrown_away.value) > before:
            before, moved_s = counted, time.monotonic()
        for one in senders:
            one.send(int(before / len(senders)) + task.in_flight)
        await asyncio.sleep(_PAUSE_S)
    return moved_s
