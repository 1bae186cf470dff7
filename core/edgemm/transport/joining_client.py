"""An MQTT client that reads and writes many packets by one system call, where paho makes eight for each message.

paho asks the kernel for each byte of a packet's head, writes each packet by itself, and wakes itself for each. In a
program of several threads each such call also hands Python's lock to another one, which keeps it for milliseconds.
With `joins` a read takes all that came, up to a bound, and what is to be sent goes together. With `on_taken` besides,
messages that are whole in what was read are handed over together, and confirmed together, past paho's own way of a
packet: that makes some forty calls for each.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MessageType, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgemm.transport.whole_packets import Taken, publish_packet, whole_packets

_READ_BYTES = 64 * 1024
"""That are read at a time, and so much is kept."""
_WRITTEN_BYTES = 64 * 1024
"""From so much on, no more packets are joined."""
_CONFIRMED = ReasonCode(PacketTypes.PUBACK), Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]  # paho's
"""What MQTT 3.1.1 says of a message that the broker has."""


class JoiningClient(mqtt.Client):
    """A client of paho; `joins` is set before it connects."""

    joins = False
    on_taken: Callable[[list[Taken]], None] | None = None
    """Called with messages that came together, of QoS 0 or 1, in their order; `on_message` gets the rest. For MQTT
    3.1.1."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._came, self._at, self._may_read = b"", 0, True
        self._woken = False
        self._untold = set[int]()
        """Ids of messages of which nobody is told that the broker has them."""
        super().__init__(*args, **options)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.joins:
            return super()._sock_recv(bufsize)
        if self._at == len(self._came):
            if not self._may_read:  # whoever waits to write, or to end the connection, has a turn first
                raise BlockingIOError
            self._fill()
        found = self._came[self._at : self._at + bufsize]
        self._at += len(found)
        return found

    def _fill(self) -> None:
        """Read what came: of TLS as many records as there are, for many a broker makes one of each packet."""
        self._came, self._at = super()._sock_recv(_READ_BYTES), 0
        self._may_read = False
        if not hasattr(self._sock, "pending"):
            return
        records, size = [self._came], len(self._came)
        with suppress(OSError):  # nothing more came; what is wrong, the next read meets again
            while records[-1] and size < _READ_BYTES:
                records.append(super()._sock_recv(_READ_BYTES))
                size += len(records[-1])
        self._came = b"".join(records)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read once, and handle all packets that came."""
        self._may_read = True
        rc = super().loop_read(max_packets)
        while self.joins and rc == MQTTErrorCode.MQTT_ERR_SUCCESS and self._at < len(self._came):
            rc = super().loop_read(max_packets)
        return rc

    def _packet_read(self) -> MQTTErrorCode:
        if self.joins and self.on_taken is not None and not self._in_packet["command"]:
            if self._at == len(self._came) and self._may_read:
                try:
                    self._fill()
                except BlockingIOError:
                    return MQTTErrorCode.MQTT_ERR_AGAIN
                except OSError:
                    self._came, self._at, self._may_read = b"", 0, True  # paho meets it again, and tells it
            if self._at < len(self._came):
                self._take(self.on_taken)
                if self._at == len(self._came):
                    return MQTTErrorCode.MQTT_ERR_AGAIN
            else:
                self._may_read = True  # the end of the connection, which paho meets again
        return super()._packet_read()

    def _take(self, take: Callable[[list[Taken]], None]) -> None:
        """Handle the packets at the beginning of what was read that are whole, and of the kinds that come often.

        paho learns of them by the time alone: whoever follows too slowly finds the answer to its PINGREQ far behind
        them, and must not take the broker for gone.
        """
        found = whole_packets(self._came, self._at)
        if found.end == self._at:
            return
        self._at = found.end
        if found.messages:
            take(found.messages)
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        if found.confirmations:
            self._packet_queue(MessageType.PUBACK, found.confirmations, 0, 1)
        for message_id in found.confirmed:
            if message_id in self._untold:
                self._untold.discard(message_id)
                continue
            with self._out_message_mutex:
                if message_id in self._out_messages:
                    self._do_on_publish(message_id, *_CONFIRMED)

    def publish_together(self, messages: Sequence[tuple[str, bytes]]) -> MQTTErrorCode:
        """Publish messages (topic, payload) by QoS 1 as one write; nobody is told when the broker has them.

        None of them is sent where more would await its confirmation than `max_queued_messages_set` allows.
        """
        packets = bytearray()
        with self._out_message_mutex:
            unconfirmed = len(self._out_messages) + len(self._untold) + len(messages)
            if 0 < self._max_queued_messages < unconfirmed:
                return MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            for topic, payload in messages:
                while (message_id := self._mid_generate()) in self._out_messages:
                    pass  # there are three times as many as may await confirmation
                self._untold.add(message_id)
                packets += publish_packet(topic, payload, message_id)
        return MQTTErrorCode(self._packet_queue(MessageType.PUBLISH, packets, 0, 1))

    def _mid_generate(self) -> int:
        found = super()._mid_generate()
        while found in self._untold:
            found = super()._mid_generate()
        return found

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        self._untold.discard(int.from_bytes(self._in_packet["packet"][:2], "big"))
        return super()._handle_pubackcomp(cmd)

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
