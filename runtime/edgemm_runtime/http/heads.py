"""The bytes of answers to requests. Pure."""

from __future__ import annotations

from http import HTTPStatus

from edgemm.transport.request_head import Head
from edgemm_runtime.http.exchange import Reply

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = {204, 304}


def encode_reply(reply: Reply, *, keep_alive: bool, asked: Head | None = None, date: str = "") -> bytes:
    """Return the bytes of an answer to a request, None where its head was never whole; without its body for HEAD.

    `date` is the line that `DateLine` makes.
    """
    head = f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, '')}\r\n{date}"
    if reply.status not in _BODILESS:
        head += f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n"
    if reply.request_id:
        head += f"X-Request-Id: {reply.request_id}\r\n"
    for name, value in reply.headers:
        head += f"{name}: {value}\r\n"
    if not keep_alive:
        head += "Connection: close\r\n\r\n"
    elif asked is None or asked.version == "1.1":
        head += "\r\n"
    else:  # an older client closes unless it is told so (RFC 9112, appendix C.2.2)
        head += "Connection: keep-alive\r\n\r\n"
    start = head.encode("latin-1", "replace")
    without = reply.status in _BODILESS or (asked is not None and asked.method == "HEAD")
    return start if without else start + reply.body
