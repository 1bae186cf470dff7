"""The call of a WSGI application for one request (PEP 3333).

A file that the application names in `X-Sendfile` is sent by the server, without a thread; where a proxy in front can
read it too, by that proxy, which is told in `X-Accel-Redirect`.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from msgspec import structs

from edgemm.transport.request_head import Head
from edgemm_fleet.http.answers import After, FilePart, ServedAnswer

WsgiApplication: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_OF_THE_CONNECTION = {
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that end here (RFC 9110, section 7.6.1), and the length, which has a name of its own."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/\d+")
_SMALL_FILE_BYTES = 64 * 1024
_SENDFILE, _ACCEL = "X-Sendfile", "X-Accel-Redirect"
HOLD = "edgemm.hold"
"""What an application calls, once at most, with what its answer is to wait for: see `ServedAnswer.after`."""


class Origin(NamedTuple):
    """Where this server is, and whence it was asked."""

    scheme: str
    host: str
    port: int
    address: str


class ProxiedFiles(NamedTuple):
    """The files that a proxy sends itself: those below a folder, under addresses that begin with a prefix."""

    folder: Path
    prefix: str


def call(
    application: WsgiApplication, head: Head, body: io.IOBase, origin: Origin, *, proxied: ProxiedFiles | None = None
) -> ServedAnswer:
    """Ask an application; what it raises is passed on.

    Raises:
        OSError: the file that it names cannot be read.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        started.append((status, headers))

    held: list[After] = []
    found = application({**environ(head, body, origin), HOLD: held.append}, start_response)
    try:
        content = b"".join(found)
    finally:
        if close := getattr(found, "close", None):
            close()
    status, headers = started[-1]
    answer = _answer(int(status.split(" ", 1)[0]), headers, content, asked=head, proxied=proxied)
    return structs.replace(answer, after=held[0]) if held else answer


def environ(head: Head, body: io.IOBase, origin: Origin) -> dict[str, Any]:
    """Return what a WSGI application is told of a request."""
    told: dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": head.path.encode().decode("latin-1"),
        "QUERY_STRING": head.query,
        "REMOTE_ADDR": origin.address,
        "SERVER_NAME": origin.host,
        "SERVER_PORT": str(origin.port),
        "SERVER_PROTOCOL": f"HTTP/{head.version}",
        "CONTENT_TYPE": head.headers.get("content-type", ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": origin.scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if not head.chunked:
        told["CONTENT_LENGTH"] = str(head.content_length)
    for name, value in head.headers.items():
        # A name with "_" would be another's with "-".
        if name not in _OF_THE_CONNECTION and name != "content-type" and "_" not in name:
            told["HTTP_" + name.upper().replace("-", "_")] = value
    return told


def _answer(
    status: int, headers: list[tuple[str, str]], content: bytes, *, asked: Head, proxied: ProxiedFiles | None
) -> ServedAnswer:
    named = {name.lower(): value for name, value in headers}
    sent = tuple(
        (name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION | {_SENDFILE.lower()}
    )
    length = int(named["content-length"]) if "content-length" in named else None
    path = named.get(_SENDFILE.lower())
    if path is None or length is None or asked.method == "HEAD":
        return ServedAnswer(status, sent, content, length=length if asked.method == "HEAD" else None)
    if proxied is not None and Path(path).is_relative_to(proxied.folder):
        address = proxied.prefix + Path(path).relative_to(proxied.folder).as_posix()
        return ServedAnswer(status, (*sent, (_ACCEL, address)))
    found = _CONTENT_RANGE.fullmatch(named.get("content-range", ""))
    file = FilePart(Path(path), start=int(found[1]) if found else 0, size=length)
    if length > _SMALL_FILE_BYTES:
        return ServedAnswer(status, sent, file=file)
    try:
        return ServedAnswer(status, sent, file.read(length, waiting=True) or b"")
    finally:
        file.close()
