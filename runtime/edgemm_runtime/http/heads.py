"""The heads of requests, parsed by llhttp (Node.js' strict parser), and the bytes of answers. Pure.

llhttp refuses everything by which two parsers may disagree about the end of a request (RFC 9112, section 11.2): a
length beside chunks, two lengths, white space before a colon, line ends without CR.
"""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

import httptools

from edgemm_runtime.http.exchange import Head, Reply

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = {204, 304}


class Refusal(Exception):  # noqa: N818 - an answer: the connection is closed after it
    """A request that is refused before it reaches any protocol."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


def parse_head(raw: bytes) -> Head:
    """Read a head with its empty line.

    Raises:
        Refusal: 400, it is no HTTP/1 request.
    """
    found = _Fields()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer of another protocol may be ignored: RFC 9110, section 7.8
    except httptools.HttpParserError as err:
        raise Refusal(400, f"the bytes are no HTTP/1.1 request: {err}") from err
    method, version = parser.get_method().decode("ascii"), parser.get_http_version()
    headers = found.headers
    if method == "CONNECT" or not found.url.startswith(b"/"):
        raise Refusal(400, f"expected a path that begins with /, found {found.url[:80].decode('latin-1')!r}")
    if version == "1.1" and "host" not in headers:
        raise Refusal(400, "expected a Host header in HTTP/1.1, found none")
    path, _, query = found.url.partition(b"#")[0].partition(b"?")
    return Head(
        method=method,
        path=unquote_to_bytes(path).decode("utf-8", "replace"),
        query=query.decode("latin-1"),
        headers=MappingProxyType(headers),
        keep_alive=_stays(version, headers.get("connection", "")),
        content_length=int(headers.get("content-length", 0)),
        chunked="transfer-encoding" in headers,
        expects_continue=version == "1.1" and headers.get("expect", "").lower() == "100-continue",
    )


def encode_reply(reply: Reply, *, keep_alive: bool, body: bool = True) -> bytes:
    """Return the bytes of an answer; without its body for HEAD."""
    head = f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, '')}\r\n"
    if reply.status not in _BODILESS:
        head += f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n"
    for name, value in reply.headers:
        head += f"{name}: {value}\r\n"
    head += "\r\n" if keep_alive else "Connection: close\r\n\r\n"
    start = head.encode("latin-1", "replace")
    return start + reply.body if body and reply.status not in _BODILESS else start


def _stays(version: str, connection: str) -> bool:
    """Tell whether the connection outlives the request (RFC 9112, section 9.3); llhttp forgets it with the request."""
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


class _Fields:
    """What llhttp calls back with."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and query."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        # White space around a value is none of it (RFC 9110, section 5.5); llhttp leaves what follows it.
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        before = self.headers.get(key)
        self.headers[key] = text if before is None else f"{before}, {text}"
