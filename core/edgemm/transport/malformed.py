"""The faults of bytes that are no HTTP/1 request, in plain words: llhttp's own are for its programmers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import httptools

_TLS_HANDSHAKE = b"\x16\x03"
_TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "crlf": "expected CR LF at the end of each line of the head",
        "missing expected": "expected CR LF at the end of each line of the head",
        "whitespace": "a line of the head begins with white space: send each header in one line",
        "transfer-encoding": "Transfer-Encoding: expected chunked as the last coding, and no Content-Length beside it",
        "content-length": "Content-Length: expected one number of bytes, and no Transfer-Encoding beside it",
        "version": "expected HTTP/1.1 or HTTP/1.0 at the end of the first line, found another version",
        "pri/upgrade": "expected HTTP/1.1, found the start of HTTP/2: send HTTP/1.1",
        "expected http/": "expected METHOD PATH HTTP/1.1 in the first line, with no spaces in the path",
        "header token": "the name of a header has a character that none may have, such as a space before the colon",
        "header value": "the value of a header has a control character",
        "chunk": "a chunk's size is no hexadecimal number, or its data do not end where that says",
    }
)
"""What a message of llhttp has in it, in lower case; the first that fits is told."""


def told(err: httptools.HttpParserError, raw: bytes) -> str:
    """Return what is wrong with `raw`, of which llhttp raised `err`."""
    if isinstance(err, httptools.HttpParserInvalidMethodError):
        if raw.startswith(_TLS_HANDSHAKE):
            return "expected HTTP, found TLS: this port speaks plain HTTP: use http:// in place of https://"
        return f"expected a method such as GET or POST, found {_shown(raw.split(None, 1)[0])}"
    if isinstance(err, httptools.HttpParserInvalidURLError):
        target = raw.partition(b" ")[2].split(b"\r", 1)[0].removesuffix(b" HTTP/1.1")
        return f"expected a path that begins with /, of ASCII and %-escapes, found {_shown(target)}"
    said = str(err).lower()
    return next((text for token, text in _TOKENS.items() if token in said), "the head of the request is malformed")


def _shown(data: bytes) -> str:
    return repr(data[:40].decode("latin-1"))
