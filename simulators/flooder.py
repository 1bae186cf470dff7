"""A hostile client of a broker, in a process of its own.

    with Flooder(Flood.QOS1, port=port, login=("cam-1", "secret"), topic="edgemm/v1/lab/2e/cam-1/event"):
        …

It speaks MQTT over bare sockets, as fast as the broker takes it, and comes back when it is thrown out.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Self

from simulators.mqtt_packets import connect_packet, length, publish_packet, subscribe_packet

_CONNACK_BYTES = 4
_TIMEOUT_S = 5.0
_PAUSE_S = 0.05
_RECEIVED_AT_ONCE = 1 << 16
_IDENTITIES = 200


class Flood(StrEnum):
    """What it does."""

    QOS0 = "qos0"
    QOS1 = "qos1"
    RETAINED = "retained"
    """Each message is retained, on a topic of its own."""
    SUBSCRIPTIONS = "subscriptions"
    """Each subscription is to another filter."""
    OVERSIZED = "oversized"
    """A packet announces 256 MB."""
    RECONNECTS = "reconnects"
    """Connections come and go."""
    IDENTITIES = "identities"
    """Many connections of one identity, each of which throws out another."""
    SILENT = "silent"
    """Many connections that say nothing."""


class Flooder:
    """Runs a flood in a process of its own while the block lasts."""

    def __init__(
        self, kind: Flood, *, port: int, login: tuple[str, str], topic: str, size: int = 30_000, rate: float = 0.0
    ) -> None:
        self._asked = json.dumps([kind, port, *login, topic, size, rate])

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", f"from {__name__} import flood; flood()"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        self.process.stdin.write(self._asked + "\n")
        self.process.stdin.flush()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


def _open(port: int, login: tuple[str, str]) -> socket.socket:
    """Return a connection that the broker accepted; the client id is the user name."""
    client = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    client.sendall(connect_packet(login[0], login))
    if client.recv(_CONNACK_BYTES)[3:] != b"\0":
        client.close()
        raise ConnectionError("refused")
    return client


def _pour(client: socket.socket, make: Callable[[int], bytes], rate: float) -> None:
    """Send packets, `rate` a second or as fast as they are taken, and throw away what comes."""
    begun_s = time.monotonic()
    client.settimeout(None)
    for number in itertools.count():
        if rate and (ahead_s := begun_s + number / rate - time.monotonic()) > 0:
            time.sleep(ahead_s)
        waiting = memoryview(make(number % 65_535 + 1))
        while waiting:
            readable, writable, _ = select.select([client], [client], [])
            if readable and not client.recv(_RECEIVED_AT_ONCE):
                return
            if writable:
                waiting = waiting[client.send(waiting) :]


def _many(port: int, login: tuple[str, str], *, silent: bool) -> None:
    """Keep many connections, each opened anew when it is closed."""
    held: list[socket.socket] = []
    for _ in itertools.count():
        with contextlib.suppress(OSError):
            client = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
            if not silent:
                client.sendall(connect_packet(login[0], login))
            held.append(client)
        if len(held) > _IDENTITIES:
            held.pop(0).close()


def _makers(topic: str, size: int) -> dict[Flood, Callable[[int], bytes]]:
    """Return what makes a packet with a message id, by kind of flood."""
    payload, numbers = b"{" * size, itertools.count()
    _, _, fleet, _, device, _ = topic.split("/")
    huge = bytes([0x30]) + length(268_435_455) + publish_packet(topic, b"", qos=0, message_id=0)[2:]
    return {
        Flood.QOS0: lambda n: publish_packet(topic, payload, qos=0, message_id=n),
        Flood.QOS1: lambda n: publish_packet(topic, payload, qos=1, message_id=n),
        Flood.RETAINED: lambda n: publish_packet(
            f"edgemm/v1/{fleet}/{next(numbers)}/{device}/status", payload, qos=1, message_id=n, retain=True
        ),
        Flood.SUBSCRIPTIONS: lambda n: subscribe_packet(n, f"{next(numbers)}/{'x' * 200}"),
        Flood.OVERSIZED: lambda n: huge + payload if n == 1 else payload,
    }


def _flood(kind: Flood, port: int, login: tuple[str, str], make: Callable[[int], bytes] | None, rate: float) -> None:
    if kind in {Flood.IDENTITIES, Flood.SILENT}:
        _many(port, login, silent=kind is Flood.SILENT)
    while True:
        try:
            client = _open(port, login)
        except OSError:
            time.sleep(_PAUSE_S)
            continue
        with client, contextlib.suppress(OSError):
            if make is not None:
                _pour(client, make, rate)


def flood() -> None:
    """Do what stdin says, for ever."""
    kind, port, user, password, topic, size, rate = json.loads(sys.stdin.readline())
    _flood(Flood(kind), port, (user, password), _makers(topic, size).get(Flood(kind)), rate)
