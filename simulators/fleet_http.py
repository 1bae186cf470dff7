"""The fleet manager's HTTP side as a device sees it, with faults on request: cuts, wrong bytes, no ranges, 503."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from edgemm.trust.enrolment import BLOB_PATH, ENROL_PATH
from edgemm.trust.time_statement import TIME_PATH

_PIECE = 4096
_TRICKLE_S = 0.02


@dataclass
class Faults:
    """What goes wrong with blobs, each as often as it says; `asked` are the ranges that were asked for."""

    cut_after: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the answer's body, once for each entry."""
    statuses: list[int] = field(default_factory=list)
    """Answer with these statuses first."""
    wrong_bytes: int = 0
    """Send other bytes of the right length so many times."""
    ignore_ranges: bool = False
    hold_after: int | None = None
    """Stop sending after so many bytes, until `release` is set."""
    trickle_after: int | None = None
    """Send a byte at a time after so many bytes, until `release` is set."""
    release: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when a held answer waits."""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """(digest, offset) of every request for a blob."""
    sent_bytes: int = 0
    """Bytes of blobs that went out."""


class Answer(Exception):  # noqa: N818 - an HTTP status, not a failure of the simulator
    """Ends a request with a status and an error document."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class FleetHttp:
    """Serves `files` by path, blobs by digest and `enrol`, on a free loopback port."""

    def __init__(
        self,
        *,
        files: dict[str, bytes],
        blobs: dict[str, bytes],
        enrol: Callable[[bytes], bytes],
        bearers: Callable[[str], bool],
        state_time: Callable[[bytes], bytes] | None = None,
        port: int = 0,
    ) -> None:
        self.state_time = state_time
        """How a question for the time is answered; None: as by a manager that knows no such question."""
        self.times_asked = 0
        self.files, self.blobs, self.enrol, self.bearers = files, blobs, enrol, bearers
        self.faults = Faults()
        outer = self

        class Handler(_Handler):
            fleet = outer

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.faults.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of devices that are killed while they speak; of all else what the base class says."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fleet: FleetHttp

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(lambda: self._post(body))

    def do_GET(self) -> None:
        self._answer(self._get)

    def _answer(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Answer as err:
            body = msgspec.json.encode({"error": {"code": err.code, "message": err.message, "hint": ""}})
            self._send(err.status, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _post(self, body: bytes) -> None:
        if self.path == TIME_PATH and self.fleet.state_time is not None:
            self._check_bearer()
            self.fleet.times_asked += 1
            self._send(200, self.fleet.state_time(body))
            return
        if self.path != ENROL_PATH:
            raise Answer(404, "not_found", self.path)
        self._send(200, self.fleet.enrol(body))

    def _check_bearer(self) -> None:
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self.fleet.bearers(bearer):
            raise Answer(401, "unauthorised", "unknown bearer")

    def _get(self) -> None:
        self._check_bearer()
        if self.path.startswith(BLOB_PATH):
            self._blob(self.path.removeprefix(BLOB_PATH))
        elif self.path in self.fleet.files:
            self._send(200, self.fleet.files[self.path])
        else:
            raise Answer(404, "not_found", self.path)

    def _blob(self, digest: str) -> None:
        faults, data = self.fleet.faults, self.fleet.blobs.get(digest)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        offset = int(asked[1]) if asked and not faults.ignore_ranges else 0
        faults.asked.append((digest, int(asked[1]) if asked else 0))
        if faults.statuses:
            raise Answer(faults.statuses.pop(0), "fault", "as asked")
        if data is None:
            raise Answer(404, "not_found", "no such blob")
        if faults.wrong_bytes:
            faults.wrong_bytes -= 1
            data = bytes(len(data))
        body = data[offset:]
        self.send_response(206 if offset else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("Content-Length", str(len(body)))
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self._stream(body)

    def _stream(self, body: bytes) -> None:
        faults = self.fleet.faults
        end = min(len(body), faults.cut_after.pop(0)) if faults.cut_after else len(body)
        sent = 0
        while sent < end:
            if faults.hold_after is not None and sent >= faults.hold_after:
                faults.reached.set()
                faults.release.wait()
            slowly = faults.trickle_after is not None and sent >= faults.trickle_after
            if slowly and faults.release.wait(_TRICKLE_S):
                slowly = False
            piece = body[sent : min(sent + (1 if slowly else _PIECE), end)]
            self.wfile.write(piece)
            self.wfile.flush()
            sent += len(piece)
            faults.sent_bytes += len(piece)
        if end < len(body):
            self.close_connection = True

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
