"""A version repository that lies: a fleet manager's HTTP side, as who holds its address and certificate can have it.

    with LyingRepository(fleet.url) as repository:           # devices are told repository.url
        repository.lie(r"/tuf/metadata/timestamp.json", lambda honest: recorded)
        repository.lie(r"/api/v1/blobs/", lambda honest: endless())
        repository.be_honest()

What is asked is passed on to the real one, and the honest answer is given to the lie.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import urllib3

Lie = Callable[[bytes], bytes | int | Iterator[bytes]]
"""Honest body → what is said: a body, a status, or a body that comes in pieces, whatever their number."""
_PASSED = ("Authorization", "Range", "If-Range", "Content-Type")
_RETURNED = ("Content-Type", "Content-Range", "ETag", "Accept-Ranges", "Location")


def endless(piece: bytes = b" " * 65536) -> Iterator[bytes]:
    """Yield a body that never ends."""
    return itertools.repeat(piece)


class LyingRepository:
    """Listens on a free loopback port; a context manager."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._lies: list[tuple[re.Pattern[str], Lie]] = []
        self.asked: list[str] = []
        """The paths that were asked for since `be_honest`."""
        self.posted: list[tuple[str, bytes]] = []
        """What was sent by POST, as somebody in between reads it."""
        self.sent_bytes = 0
        """Bytes of lies that went out since `be_honest`."""
        self.over = threading.Event()
        """Set at the end of a lie that waits."""
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=30.0)
        outer = self

        class Handler(_Handler):
            repository = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def lie(self, path: str, what: Lie) -> None:
        """Answer paths that match a pattern so from now on; the latest lie about a path counts."""
        self._lies.insert(0, (re.compile(path), what))

    def be_honest(self) -> None:
        """Pass everything on as it is."""
        self._lies.clear()
        self.over.set()
        self.over = threading.Event()
        self.asked.clear()
        self.sent_bytes = 0

    def slowly(self, data: bytes, *, pause_s: float = 0.5) -> Iterator[bytes]:
        """Yield a body byte by byte, until the lies are over."""
        over = self.over
        for byte in data:
            yield bytes([byte])
            if over.wait(pause_s):
                return

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Ask the real one."""
        return self._pool.request(method, self._behind + path, body=body, headers=headers, redirect=False)

    def said_of(self, path: str, honest: bytes) -> bytes | int | Iterator[bytes] | None:
        """Return the lie about a path, None where there is none."""
        return next((what(honest) for pattern, what in list(self._lies) if pattern.search(path)), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repository: LyingRepository

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.repository.posted.append((self.path, body))
        self._answer("POST", body)

    def do_GET(self) -> None:
        self._answer("GET", None)

    def _answer(self, method: str, body: bytes | None) -> None:
        repository = self.repository
        repository.asked.append(self.path)
        headers = {name: value for name in _PASSED if (value := self.headers.get(name)) is not None}
        true = repository.ask(method, self.path, body, headers)
        said = repository.said_of(self.path, true.data)
        try:
            if said is None:
                kept = {name: value for name in _RETURNED if (value := true.headers.get(name)) is not None}
                self._whole(true.status, true.data, kept)
            elif isinstance(said, int):
                self._whole(said, b"", {})
            elif isinstance(said, bytes):
                self._whole(200, said, {})
            else:
                self._in_pieces(said)
        except OSError:  # the device had enough of it
            self.close_connection = True

    def _whole(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _in_pieces(self, pieces: Iterator[bytes]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.repository.sent_bytes += len(piece)
