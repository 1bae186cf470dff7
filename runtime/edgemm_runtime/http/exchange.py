"""One HTTP exchange as values: a whole request, and the reply to it.

A handler is a function from a `Request` to a `Reply`, whichever way the request came: from the event loop, from one of
its threads, or through Flask. Every error is JSON, `{"error": str}`, with the content type exactly `application/json`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from edgemm.errors import (
    BadRequestError,
    ConflictError,
    EdgemmError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from edgemm_runtime.http.memory_budget import UNBOUNDED, Holding

JSON = "application/json"
_log = logging.getLogger(__name__)
_STATUSES: tuple[tuple[type[EdgemmError], int], ...] = (
    (BadRequestError, 400),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (UnavailableError, 503),
)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Head(msgspec.Struct, frozen=True):
    """The head of a request: `path` is percent-decoded, names of headers are lower-case, repeated ones joined."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_HEADERS)
    version: str = "1.1"
    keep_alive: bool = True
    content_length: int = 0
    chunked: bool = False
    expects_continue: bool = False


class Request(msgspec.Struct, frozen=True):
    """A whole request; `body` is as it came, compressed or not."""

    head: Head
    body: bytes = b""
    holding: Holding = msgspec.field(default_factory=UNBOUNDED.holding)
    """What this request holds of the server's memory: grown by whoever makes something large of it, before."""

    def header(self, name: str, default: str = "") -> str:
        """Return a header by its name in lower case."""
        return self.head.headers.get(name, default)


class Reply(msgspec.Struct, frozen=True):
    """What is answered; the transport adds the length of the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_body(value: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return a value as JSON."""
    return Reply(status, msgspec.json.encode(value), JSON, headers)


def error_body(message: str, *, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return an error in the form that all of a device's endpoints have: `{"error": str}`.

    A message may repeat half of a surrogate pair, which JSON spells and UTF-8 has not: it is escaped.
    """
    sendable = message.encode("utf-8", "backslashreplace").decode()
    return json_body({"error": sendable}, status=status, headers=headers)


def error_reply(err: EdgemmError) -> Reply:
    """Return what answers a request that raised `err`; what is the server's fault is logged."""
    status = next((status for kind, status in _STATUSES if isinstance(err, kind)), 500)
    if status == 500:
        _log.error("request failed error=%s message=%s", type(err).__name__, err)
    retry = (("Retry-After", "1"),) if status in {429, 503} else ()
    return error_body(str(err), status=status, headers=retry)


FAULT = error_body("Internal Server Error: the server failed; its log says why", status=500)
"""What answers a request that met a defect of ours, whichever way it came."""
