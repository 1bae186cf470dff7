"""An MQTT client that reads and writes many packets by one system call, where paho makes eight for each message.

paho asks the kernel for each byte of a packet's head, writes each packet by itself, and wakes itself for each. In a
program of several threads each such call also hands Python's lock to another one, which keeps it for milliseconds.
With `joins` a read takes all that came, up to a bound, and what is to be sent goes together.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MessageType, MQTTErrorCode

_READ_BYTES = 64 * 1024
"""That are read at a time, and so much is kept."""
_WRITTEN_BYTES = 64 * 1024
"""From so much on, no more packets are joined."""


class JoiningClient(mqtt.Client):
    """A client of paho; `joins` is set before it connects."""

    joins = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._came, self._at, self._may_read = b"", 0, True
        self._woken = False
        super().__init__(*args, **options)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.joins:
            return super()._sock_recv(bufsize)
        if self._at == len(self._came):
            if not self._may_read:  # whoever waits to write, or to end the connection, has a turn first
                raise BlockingIOError
            self._came, self._at = super()._sock_recv(_READ_BYTES), 0
            self._may_read = False
        found = self._came[self._at : self._at + bufsize]
        self._at += len(found)
        return found

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read once, and handle all packets that came."""
        self._may_read = True
        rc = super().loop_read(max_packets)
        while self.joins and rc == MQTTErrorCode.MQTT_ERR_SUCCESS and self._at < len(self._came):
            rc = super().loop_read(max_packets)
        return rc

    def loop_write(self) -> MQTTErrorCode:
        """Write what waits."""
        self._woken = False  # before it looks: what is queued from now on wakes it again
        return super().loop_write()

    def _packet_write(self) -> MQTTErrorCode:
        if self.joins:
            _join(self._out_packet)
        return super()._packet_write()

    def _packet_queue(self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: Any = None) -> Any:
        """Queue a packet; the network thread is woken once for all that others queue, and looks by itself for its own.

        Before that thread is there, paho writes at once.
        """
        if not self.joins or self._thread is None:
            return super()._packet_queue(command, packet, mid, qos, info)
        waiting = {"command": command, "mid": mid, "qos": qos, "pos": 0, "to_process": len(packet), "packet": packet}
        self._out_packet.append(waiting | {"info": info})  # type: ignore[arg-type]  # paho's own type is private
        if threading.current_thread() is not self._thread and not self._woken:
            self._woken = True
            with suppress(BlockingIOError, AttributeError):  # it is awake, or over
                self._sockpairW.send(b"\0")  # type: ignore[union-attr]
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _sock_close(self) -> None:
        self._came, self._at = b"", 0
        super()._sock_close()


def _join(waiting: deque[Any]) -> None:
    """Make one of the first packets that nothing has to follow when they are written, as it does after a DISCONNECT."""
    first, size = list[Any](), 0
    while waiting and size < _WRITTEN_BYTES and _is_plain(waiting[0]):
        first.append(waiting.popleft())
        size += len(first[-1]["packet"]) - first[-1]["pos"]
    if len(first) > 1:
        joined = b"".join(bytes(one["packet"][one["pos"] :]) for one in first)
        first = [first[0] | {"packet": joined, "pos": 0, "to_process": size}]
    waiting.extendleft(first)


def _is_plain(packet: Any) -> bool:
    kind = packet["command"] & 0xF0
    return bool(kind == MessageType.PUBACK or (kind == MessageType.PUBLISH and packet["qos"] > 0))
