"""Clients that say what no library would, and a server with small limits for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

from edgemm.errors import BadRequestError
from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.http_server import HttpServer, HttpSettings

_LARGE = 2 << 20
HURRIED = HttpLimits(
    connections=16,
    address_connections=16,
    handshake_s=0.5,
    head_s=0.5,
    body_s=0.5,
    pace_s=0.5,
    idle_s=0.5,
    linger_s=0.2,
    drain_s=5.0,
)
"""Whoever is slow is given up at once."""


class Application:
    """Answers with what it was asked: `/wait` not before `go` is set, `/file` with `file`; reads all but `/unread`."""

    def __init__(self) -> None:
        self.go, self.asked, self.file, self.read = threading.Event(), threading.Semaphore(0), "", b""
        self.environs: list[dict[str, Any]] = []
        self.fault: BadRequestError | None = None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.environs.append(environ)
        self.asked.release()
        path = environ["PATH_INFO"]
        if path == "/wait":
            assert self.go.wait(60)
        if path == "/fault":
            raise OSError("the disk is gone")
        if path == "/file":
            start("200 OK", [("X-Sendfile", self.file), ("Content-Length", str(_size(self.file)))])
            return []
        if path != "/unread":
            try:
                self.read = environ["wsgi.input"].read()
            except BadRequestError as err:
                self.fault = err
        body = path.encode() if not path.startswith("/large/") else bytes(_LARGE)
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def _size(path: str) -> int:
    with open(path, "rb") as file:
        return file.seek(0, 2)


@contextmanager
def listening(app: Application, limits: HttpLimits | None = None, **settings: Any) -> Iterator[HttpServer]:
    """Serve on loopback until the block ends."""
    server = HttpServer(app, replace(HttpSettings("127.0.0.1", 0, **settings), limits=limits or HttpLimits()))
    server.start()
    try:
        yield server
    finally:
        app.go.set()
        server.stop()


class RawClient:
    """A connection that sends bytes and reads to the end, or a while."""

    def __init__(self, server: HttpServer, *, receive_bytes: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.settimeout(30)
        self.sock.connect(("127.0.0.1", server.port))

    def send(self, text: str | bytes) -> RawClient:
        self.sock.sendall(text.encode() if isinstance(text, str) else text)
        return self

    def ask(self, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> RawClient:
        return self.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode() + body)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        found = b""
        while piece := self.sock.recv(65536):
            found += piece
        return found

    def answer(self) -> bytes:
        """One answer with its body; the connection stays."""
        found = b""
        while b"\r\n\r\n" not in found:
            piece = self.sock.recv(1)
            assert piece, found
            found += piece
        head = found.lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) if b"content-length" in head else 0
        while length:
            piece = self.sock.recv(length)
            assert piece, found
            found, length = found + piece, length - len(piece)
        return found

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
