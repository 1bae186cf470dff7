"""Clients that a manager has to bear: idle and silent ones, trickling ones, and slow downloads. Each kind a process.

The receivers of downloads have a buffer of 64 KiB: else the kernel swallows megabytes for them, and hides the load.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

from benchmarks.fleet_http.target import Target

_RECEIVE_BYTES = 64 * 1024
_TIMEOUT_S = 60.0
_RATE = 100_000


@dataclass(frozen=True)
class Clients:
    """How many there are to be, and how their process and the one that measures tell each other."""

    count: int
    ready: Event
    over: Event
    left: Synchronized[int]
    """How many the server has not closed at the end."""

    moved: Synchronized[float]
    """The megabytes a second that downloads took."""


Kind = Callable[[Target, Clients], None]


def connect(target: Target, *, receive_bytes: int | None = None) -> ssl.SSLSocket | socket.socket:
    """Return a connection whose handshake is done."""
    plain = socket.socket()
    if receive_bytes:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    plain.settimeout(_TIMEOUT_S)
    plain.connect((target.host, target.port))
    if not target.tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def silent(target: Target, clients: Clients) -> None:
    """TCP connections that never begin a handshake."""
    open_ones = [socket.create_connection((target.host, target.port), _TIMEOUT_S) for _ in range(clients.count)]
    clients.ready.set()
    clients.over.wait()
    clients.left.value = sum(map(_open, open_ones))


def idle(target: Target, clients: Clients) -> None:
    """Connections that asked once and are kept open."""
    open_ones = [connect(target) for _ in range(clients.count)]
    for one in open_ones:
        one.sendall(target.request("/api/v1/health"))
        one.recv(4096)
    clients.ready.set()
    clients.over.wait()
    clients.left.value = sum(map(_open, open_ones))


def heads(target: Target, clients: Clients) -> None:
    """Heads that come a byte a second."""
    _trickle(target, clients, target.request("/api/v1/health")[:-2] + b"X: ")


def bodies(target: Target, clients: Clients) -> None:
    """Bodies of an enrolment that come a byte a second."""
    head = f"POST /api/v1/enrol HTTP/1.1\r\nHost: {target.host}\r\nContent-Length: 200000\r\n\r\n"
    _trickle(target, clients, head.encode() + b"{")


def downloads(target: Target, clients: Clients) -> None:
    """Downloads at 100 kB/s each."""
    open_ones = []
    for _ in range(clients.count):
        sock = connect(target, receive_bytes=_RECEIVE_BYTES)
        sock.sendall(target.request(f"/api/v1/blobs/{target.blob}", token=target.token))
        sock.settimeout(0)
        open_ones.append(_Download(sock, time.monotonic()))
    clients.ready.set()
    begun_s, before = time.monotonic(), sum(one.taken for one in open_ones)
    while not clients.over.is_set():
        now_s = time.monotonic()
        for one in open_ones:
            one.take(now_s)
        time.sleep(0.005)
    clients.moved.value = (sum(one.taken for one in open_ones) - before) / (time.monotonic() - begun_s) / 1e6
    clients.left.value = sum(one.alive for one in open_ones)


class _Download:
    def __init__(self, sock: ssl.SSLSocket | socket.socket, now_s: float) -> None:
        self._sock, self._since_s, self.taken, self.alive = sock, now_s, 0, True

    def take(self, now_s: float) -> None:
        if not self.alive or self.taken > (now_s - self._since_s) * _RATE:
            return
        with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
            data = self._sock.recv(16 * 1024)
            self.taken += len(data)
            self.alive = bool(data)


def _trickle(target: Target, clients: Clients, first: bytes) -> None:
    open_ones = []
    for _ in range(clients.count):
        with contextlib.suppress(OSError):
            one = connect(target)
            one.sendall(first)
            open_ones.append(one)
    clients.ready.set()
    while not clients.over.wait(1):
        for one in open_ones:
            with contextlib.suppress(OSError):
                one.sendall(b" ")
    clients.left.value = sum(map(_open, open_ones))


def _open(one: ssl.SSLSocket | socket.socket) -> bool:
    """Tell whether the server has said nothing and not closed."""
    one.settimeout(0)
    try:
        one.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


KINDS: dict[str, Kind] = {kind.__name__: kind for kind in (idle, silent, heads, bodies, downloads)}
