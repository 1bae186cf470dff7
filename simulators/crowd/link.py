"""One device's connection to the broker: a socket that never blocks, and MQTT as the device speaks it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable

from edgemm import topics
from simulators import mqtt_packets
from simulators.crowd.paced_device import PacedDevice
from simulators.device import Outgoing
from simulators.mqtt_packets import PacketType

READ, WRITE = 1, 4
"""Of epoll."""
_CHUNK_BYTES = 64 * 1024
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
KEEPALIVE_S = 30


class Link:
    """A device, its login, and its present connection, if any."""

    __slots__ = (
        "device", "failures", "in_since_s", "login", "message_id", "outstanding", "received", "secure", "sock",
        "unsent", "up", "waiting_since_s", "watched",
    )  # fmt: skip

    def __init__(self, device: PacedDevice, login: tuple[str, str]) -> None:
        self.device, self.login = device, login
        self.sock: socket.socket | None = None
        self.secure = self.up = False
        """Whether TLS is there, or not needed; whether the broker let the device in."""
        self.unsent, self.received = b"", b""
        self.message_id = self.failures = self.watched = 0
        self.outstanding = 0
        """Messages that the broker is still to confirm."""
        self.in_since_s = 0.0
        self.waiting_since_s = 0.0
        """Since when nothing was acknowledged of what waits."""

    def open(self, place: tuple[str, int], context: ssl.SSLContext | None) -> int:
        """Begin to connect; return its descriptor."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(place)
        self.secure, self.sock = context is None, sock
        self.received, self.outstanding = b"", 0
        will = self.device.will()
        self.unsent = mqtt_packets.connect_packet(
            self.device.id, self.login, keepalive_s=KEEPALIVE_S, will=(will.topic, will.payload)
        )
        return self.sock.fileno()

    def close(self) -> None:
        """Close without a word."""
        if self.sock is not None:
            self.sock.close()
        self.sock, self.up, self.unsent, self.received = None, False, b"", b""

    def say(self, messages: Iterable[Outgoing]) -> None:
        """Publish, once the socket takes it."""
        for one in messages:
            self.message_id = self.message_id % 65_535 + 1
            self.outstanding += 1
            self.unsent += mqtt_packets.publish_packet(
                one.topic, one.payload, qos=1, message_id=self.message_id, retain=one.retain
            )

    def subscribe(self) -> None:
        """Ask to hear what the fleet says to this device."""
        heard = [topics.topic(self.device.fleet, self.device.id, one) for one in sorted(topics.FROM_FLEET)]
        self.message_id = self.message_id % 65_535 + 1
        self.unsent += mqtt_packets.subscribe_packet(self.message_id, *heard)

    def flush(self, context: ssl.SSLContext | None) -> int:
        """Send what goes now; return the events to wait for.

        Raises:
            OSError: the connection broke.
        """
        assert self.sock is not None
        if not self.secure:
            assert context is not None
            if not isinstance(self.sock, ssl.SSLSocket):
                self.sock = context.wrap_socket(self.sock, server_hostname="localhost", do_handshake_on_connect=False)
            try:
                self.sock.do_handshake()
            except ssl.SSLWantReadError:
                return READ
            except (ssl.SSLWantWriteError, BlockingIOError):
                return READ | WRITE
            self.secure = True
        while self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except _WAIT:
                return READ | WRITE
            self.unsent = self.unsent[sent:]
        return READ

    def read(self) -> list[tuple[int, bytes]]:
        """Return the packets that came.

        Raises:
            OSError: the connection broke, or is over.
        """
        assert self.sock is not None
        if not self.secure:
            return []
        data = self.received
        while True:
            try:
                more = self.sock.recv(_CHUNK_BYTES)
            except _WAIT:
                break
            if not more:
                raise ConnectionError("closed")
            data += more
            if len(more) < _CHUNK_BYTES and not isinstance(self.sock, ssl.SSLSocket):
                break
        packets, self.received = mqtt_packets.split(data)
        return packets

    def confirm(self, message_id: int) -> None:
        """Tell the broker that a message came."""
        self.unsent += mqtt_packets.puback_packet(message_id)

    def ping(self) -> None:
        """Show that the device lives."""
        self.unsent += mqtt_packets.PINGREQ


def kind(first: int) -> PacketType:
    """Return the type of a packet; ValueError where a broker sends none such."""
    return PacketType(first >> 4)
