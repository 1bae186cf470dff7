"""The WSGI adapter: gives a request to a WSGI application, and returns its answer as a `Reply` (PEP 3333)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from edgemm_runtime.http.exchange import Reply, Request

_NOT_THE_APPLICATIONS = {
    "content-type", "content-length",  # they have names of their own
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "http2-settings",
}  # fmt: skip
"""Headers of one connection, which end here (RFC 9110, section 7.6.1): Flask would refuse an offer of WebSockets."""
WsgiApplication: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def call(application: WsgiApplication, request: Request, *, host: str, port: int) -> Reply:
    """Ask an application; what it raises is passed on."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        started.append((status, headers))

    found = application(_environ(request, host=host, port=port), start_response)
    try:
        body = b"".join(found)
    finally:
        if close := getattr(found, "close", None):
            close()
    status, headers = started[-1]
    content_type = next((value for name, value in headers if name.lower() == "content-type"), "text/plain")
    others = tuple((name, value) for name, value in headers if name.lower() not in {"content-type", "content-length"})
    return Reply(int(status.split(" ", 1)[0]), body, content_type, others)


def _environ(request: Request, *, host: str, port: int) -> dict[str, Any]:
    head = request.head
    request.holding.grow(len(request.body))  # which is copied while it is read
    environ: dict[str, Any] = {
        # The answer to HEAD is that to GET without its body, which the transport leaves out, and counts.
        "REQUEST_METHOD": "GET" if head.method == "HEAD" else head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": head.path.encode().decode("latin-1"),
        "QUERY_STRING": head.query,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": head.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in head.headers.items():
        if name not in _NOT_THE_APPLICATIONS and "_" not in name:
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ
