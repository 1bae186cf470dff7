"""One HTTP exchange as values: a whole request, and the reply to it.

Every protocol is a pure function from a `Request` to a `Reply`. The transport calls the quick ones where it reads, the
Flask application calls the same ones from its views.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

JSON = "application/json"
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Head(msgspec.Struct, frozen=True):
    """The head of a request: `path` is percent-decoded, names of headers are lower-case, repeated ones joined."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_HEADERS)
    keep_alive: bool = True
    content_length: int = 0
    chunked: bool = False
    expects_continue: bool = False


class Request(msgspec.Struct, frozen=True):
    """A whole request; `body` is as it came, compressed or not."""

    head: Head
    body: bytes = b""

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
    """Return an error in the form that all of a device's endpoints have: `{"error": str}`."""
    return json_body({"error": message}, status=status, headers=headers)
