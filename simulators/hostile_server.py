"""A server that keeps its clients waiting: it never says no, and never comes to an end.

    with HostileServer("byte by byte in the head") as server:
        …                           # server.url; server.asked is set once somebody waits for it

`MANNERS` names what it can do. `pause_s` is between the bytes of those that are slow.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Self

from simulators.door import Door

_HEAD = b"HTTP/1.1 200 OK\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LONG = _HEAD + b"Content-Length: 400000\r\n\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def _slowly(first: bytes, then: bytes = b" ") -> Iterator[tuple[bytes, bool]]:
    yield first, False
    for byte in itertools.cycle(then):
        yield bytes([byte]), True


def _fast(first: bytes, then: bytes) -> Iterator[tuple[bytes, bool]]:
    yield first, False
    for _ in itertools.count():
        yield then, False


MANNERS: Mapping[str, Callable[[], Iterator[tuple[bytes, bool]]]] = {
    "silent": lambda: _slowly(b"", b""),
    "byte by byte in the first line": lambda: _slowly(b"HTTP/1.1 200 ", b"O"),
    "byte by byte in the head": lambda: _slowly(_HEAD + b"X-Slow: ", b"a"),
    "byte by byte in the body": lambda: _slowly(_LONG),
    "byte by byte in a chunk": lambda: _slowly(_CHUNKED + b"61A80\r\n"),
    "byte by byte in the size of a chunk": lambda: _slowly(_CHUNKED, b"0"),
    "byte by byte in a trailer": lambda: _slowly(_CHUNKED + b"1\r\nx\r\n0\r\nX-Slow: ", b"a"),
    "100 Continue, slowly": lambda: _slowly(_CONTINUE, _CONTINUE),
    "100 Continue, fast": lambda: _fast(b"", _CONTINUE * 100),
    "headers without end": lambda: _fast(_HEAD, b"X-Fast: a\r\n" * 100),
    "a header without end": lambda: _fast(_HEAD + b"X-Fast: ", b"a" * 4096),
    "a size of a chunk without end": lambda: _fast(_CHUNKED, b"0" * 4096),
    "trailers without end": lambda: _fast(_CHUNKED + b"1\r\nx\r\n0\r\n", b"X-Fast: a\r\n" * 100),
    "a body without end": lambda: _fast(_CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "redirects to itself": lambda: iter([(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", False)]),
}
"""What comes of each request: bytes, and whether a pause follows."""

NO_TLS = "a handshake that never ends"
NO_TCP = "a connection that is never accepted"


class HostileServer(Door):
    """Is hostile to each request; `tls` has it speak TLS before."""

    def __init__(self, manner: str, *, pause_s: float = 1.0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(backlog=0 if manner == NO_TCP else 64)
        self._manner, self._pause_s, self._tls = manner, pause_s, tls
        self.url = f"{'https' if tls or manner == NO_TLS else 'http'}://127.0.0.1:{self.port}"
        self.asked = threading.Event()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if self._manner != NO_TCP:
            return super().__enter__()
        # The queue of the listener is full by these: the kernel drops whoever comes next.
        for _ in range(3):
            connection = self.keep(socket.socket())
            connection.settimeout(0)
            with suppress(BlockingIOError):
                connection.connect(("127.0.0.1", self.port))
        self.asked.set()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        super().__exit__(*exc)

    def serve(self, connection: socket.socket) -> None:
        """Wait for requests, and answer none of them."""
        if self._tls is not None:
            connection = self.keep(self._tls.wrap_socket(connection, server_side=True))
        while connection.recv(65536):
            self.asked.set()
            if self._manner == NO_TLS:
                continue
            for data, pause in MANNERS[self._manner]():
                connection.sendall(data)
                if pause and self._over.wait(self._pause_s):
                    return
            if self._manner == "silent":
                self._over.wait()
