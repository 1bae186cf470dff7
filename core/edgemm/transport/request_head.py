"""The heads of requests, parsed by llhttp (Node.js' strict parser): for a device's server and for a fleet's. Pure.

llhttp refuses everything by which two parsers may disagree about the end of a request (RFC 9112, section 11.2): a
length beside chunks, two lengths, white space before a colon, line ends without CR.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

import httptools
import msgspec

from edgemm.transport import malformed

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_VERSIONS = {"1.1", "1.0"}
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Za-z:.%]+\])(?::[0-9]{0,5})?")
_DECODED = {"gzip", "x-gzip", "deflate"}
_MOST_BLANK_BYTES = 64
_MOST_FRAMING_BYTES = 64 * 1024
_FRAMING_PER_BYTE = 8
"""Chunks of one byte each need five: its size, and two line ends."""
_ANY_PATH = b"*"


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


class Refusal(Exception):  # noqa: N818 - an answer: the connection is closed after it
    """A request that is refused before it reaches any protocol."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def parse_head(raw: bytes) -> Head:
    """Read a head with its empty line.

    A slash at the end of the path means nothing. The path of an absolute target is told like any other, and its host
    replaces `Host` (RFC 9112, section 3.2.2). A transfer coding below the chunks is told as a content coding: for who
    reads the body, it is one.

    Raises:
        Refusal: 400, it is no HTTP/1 request; 501, its body has a coding that is not known here.
    """
    found = _Fields()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer of another protocol may be ignored: RFC 9110, section 7.8
    except httptools.HttpParserError as err:
        raise Refusal(400, malformed.told(err, raw)) from err
    method, version = parser.get_method().decode("ascii"), parser.get_http_version()
    if version not in _VERSIONS:
        raise Refusal(400, f"expected HTTP/1.1 or HTTP/1.0 at the end of the first line, found HTTP/{version}")
    headers = found.headers
    _check_host(headers.get("host"), found.hosts, version)
    target = found.url if found.url.startswith(b"/") else _origin_form(found.url, method, headers)
    chunked = "transfer-encoding" in headers
    if chunked:
        _fold_codings(headers, version)
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return Head(
        method=method,
        path=unquote_to_bytes(path).decode("utf-8", "replace").rstrip("/") or "/",
        query=query.decode("latin-1"),
        headers=MappingProxyType(headers),
        version=version,
        keep_alive=_stays(version, headers.get("connection", "")),
        content_length=int(headers.get("content-length", 0)),
        chunked=chunked,
        expects_continue=version == "1.1" and headers.get("expect", "").lower() == "100-continue",
    )


def check_begun(data: bytes, *, searched: int = 0) -> None:
    """Refuse at once the beginning of what can become no head; of the first `searched` bytes it was done before.

    Raises:
        Refusal: 400, no method begins so, such as a TLS client's first bytes, or a line ends without CR.
    """
    bare = data.count(b"\n", searched) != data.count(b"\r\n", max(0, searched - 1))
    if bare or (data and not data[:1].isalpha()):
        parse_head(data)
    if bare:
        raise Refusal(400, "expected CR LF at the end of each line of the head")


def check_blank(count: int) -> None:
    """Bound the bytes of empty lines before a request, which RFC 9112, section 2.2, has a server pass over.

    Raises:
        Refusal: 400, there are too many.
    """
    if count > _MOST_BLANK_BYTES:
        raise Refusal(400, f"more than {_MOST_BLANK_BYTES} bytes of empty lines before a request")


def check_framing(came: int, *, body: int) -> None:
    """Bound what comes of a body in chunks, in bytes, and is none of it: extensions of chunks, and trailers.

    Raises:
        Refusal: 431, it is too much for `body` bytes.
    """
    if came - body > _MOST_FRAMING_BYTES + _FRAMING_PER_BYTE * body:
        raise Refusal(431, f"extensions of chunks and trailers are larger than {_MOST_FRAMING_BYTES:,} bytes")


def _check_host(host: str | None, count: int, version: str) -> None:
    """Compare the header `Host` with RFC 9112, section 3.2."""
    if count > 1:
        raise Refusal(400, f"expected one Host header, found {count}")
    if host is None:
        if version == "1.1":
            raise Refusal(400, "expected a Host header in HTTP/1.1, found none")
    elif not _HOST.fullmatch(host):
        raise Refusal(400, f"Host: expected a name or address, and maybe a port, found {host[:80]!r}")


def _origin_form(target: bytes, method: str, headers: dict[str, str]) -> bytes:
    """Return the path and query of a target that does not begin with them; puts an absolute one's host in `Host`."""
    if target == _ANY_PATH and method == "OPTIONS":
        return _ANY_PATH
    found = _ABSOLUTE.fullmatch(target)
    if found is None or method == "CONNECT":
        shown = target[:80].decode("latin-1")
        raise Refusal(400, f"expected a path that begins with /, or http://HOST/PATH, found {shown!r}")
    host, rest = found[1].decode("latin-1"), found[2]
    if not host or not _HOST.fullmatch(host):
        raise Refusal(400, f"expected http://HOST/PATH with a name or address and maybe a port, found {host[:80]!r}")
    headers["host"] = host
    if method == "OPTIONS" and not rest:
        return _ANY_PATH  # RFC 9112, section 3.2.4
    return rest if rest.startswith(b"/") else b"/" + rest


def _fold_codings(headers: dict[str, str], version: str) -> None:
    """Move transfer codings below the chunks behind the content codings, which were applied before them."""
    if version != "1.1":
        raise Refusal(400, "Transfer-Encoding: expected Content-Length in HTTP/1.0")  # RFC 9112, section 6.1
    codings = [coding.strip().lower() for coding in headers["transfer-encoding"].split(",")]
    below = [coding for coding in codings[:-1] if coding]
    if unknown := next((coding for coding in below if coding not in _DECODED), None):
        raise Refusal(501, f"Transfer-Encoding: expected gzip or deflate before chunked, found {unknown[:40]!r}")
    if below:
        headers["content-encoding"] = ", ".join([*filter(None, [headers.get("content-encoding")]), *below])


def _stays(version: str, connection: str) -> bool:
    """Tell whether the connection outlives the request (RFC 9112, section 9.3); llhttp forgets it with the request."""
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


class _Fields:
    """What llhttp calls back with."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.hosts = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and query."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        # White space around a value is none of it (RFC 9110, section 5.5); llhttp leaves what follows it.
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self.hosts += key == "host"
        before = self.headers.get(key)
        self.headers[key] = text if before is None else f"{before}, {text}"
