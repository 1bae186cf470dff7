"""One HTTP exchange as values: a whole request, and the reply to it.

A handler is a function from a `Request` to a `Reply`, whichever way the request came: from the event loop, from one of
its threads, or through Flask. Every error is JSON, `{"error": str}`, with the content type exactly `application/json`.
"""

from __future__ import annotations

import logging

import msgspec
from msgspec.structs import replace

from edgemm.errors import (
    BadRequestError,
    ConflictError,
    EdgemmError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from edgemm.transport.request_head import Head
from edgemm_runtime.memory.memory_budget import UNBOUNDED, Holding
from edgemm_runtime.request_id import GIVEN, is_id, make_id
from edgemm_runtime.request_id import HEADER as ID_HEADER

JSON = "application/json"
_log = logging.getLogger(__name__)
_STATUSES: tuple[tuple[type[EdgemmError], int], ...] = (
    (BadRequestError, 400),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (UnavailableError, 503),
)


class Request(msgspec.Struct, frozen=True):
    """A whole request; `body` is as it came, compressed or not."""

    head: Head
    body: bytes = b""
    holding: Holding = msgspec.field(default_factory=UNBOUNDED.holding)
    """What this request holds of the server's memory: grown by whoever makes something large of it, before."""
    made_id: str = msgspec.field(default_factory=make_id)
    """Its id where its client gives none."""

    @property
    def id(self) -> str:
        """The id that its client gave in `X-Request-Id`, or that the device made."""
        given = self.head.headers.get(GIVEN)
        return self.made_id if given is None or not is_id(given) else given

    def header(self, name: str, default: str = "") -> str:
        """Return a header by its name in lower case."""
        return self.head.headers.get(name, default)


class Reply(msgspec.Struct, frozen=True):
    """What is answered; the transport adds the length of the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    request_id: str = ""
    """Sent as `X-Request-Id`; none where it is empty."""


def identified(reply: Reply, request: Request) -> Reply:
    """Return a reply with the id of its request, unless it has one: another's may be in the body."""
    if reply.request_id or any(name == ID_HEADER for name, _ in reply.headers):
        return reply
    return replace(reply, request_id=request.id)


def json_body(
    value: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = (), request_id: str = ""
) -> Reply:
    """Return a value as JSON."""
    return Reply(status, msgspec.json.encode(value), JSON, headers, request_id)


def error_body(message: str, *, status: int, headers: tuple[tuple[str, str], ...] = (), request_id: str = "") -> Reply:
    """Return an error in the form that all of a device's endpoints have: `{"error": str}`.

    A message may repeat half of a surrogate pair, which JSON spells and UTF-8 has not: it is escaped.
    """
    sendable = message.encode("utf-8", "backslashreplace").decode()
    return json_body({"error": sendable}, status=status, headers=headers, request_id=request_id)


def error_reply(err: EdgemmError, *, request_id: str = "") -> Reply:
    """Return what answers a request that raised `err`; what is the server's fault is logged."""
    status = next((status for kind, status in _STATUSES if isinstance(err, kind)), 500)
    if status == 500:
        _log.error("request failed id=%s error=%s message=%s", request_id, type(err).__name__, err)
    retry = (("Retry-After", "1"),) if status in {429, 503} else ()
    return error_body(str(err), status=status, headers=retry, request_id=request_id)


FAULT = error_body("Internal Server Error: the server failed; its log says why", status=500)
"""What answers a request that met a defect of ours, whichever way it came."""
