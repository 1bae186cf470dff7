"""The receiver of one connection: turns its bytes into whole requests. Pure: no socket, no clock.

A client sends much the same head again and again, so the last one is remembered with its bytes. A request that begins
with these very bytes is not parsed again.
"""

from __future__ import annotations

import httptools

from edgemm_runtime.http import malformed
from edgemm_runtime.http.exchange import Head, Request
from edgemm_runtime.http.heads import Refusal, parse_head

_END = b"\r\n\r\n"
_BEFORE_CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
"""What llhttp is told before chunks: a head of its own, for with an offer of an upgrade it reads no body."""
_LARGEST_REMEMBERED = 4096


class Receiver:
    """Bytes in, requests out, one at a time; of pipelined ones the next is had by `receive(b"")`."""

    def __init__(self, *, max_header_bytes: int, max_body_bytes: int) -> None:
        self._max_header_bytes, self._max_body_bytes = max_header_bytes, max_body_bytes
        self._rest = b""
        self._remembered_raw = b""
        self._remembered: Head | None = None
        self._body: _Counted | _Chunked | None = None
        self.asked: Head | None = None
        """The head of the request that is under way, was received last, or was refused; None before it is whole."""
        self.waits_for_continue = False
        """The client asked whether to send its body: answer 100, and take this back."""

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come."""
        return self._body is None and not self._rest

    @property
    def body_bytes(self) -> int:
        """The length of the body that is under way, as its head claims; of one in chunks, what has come so far."""
        return self._body.size if self._body is not None else 0

    def receive(self, data: bytes) -> Request | None:
        """Take what has arrived; return a request as soon as it is whole.

        Raises:
            Refusal: it is malformed or over a limit; the rest of the connection cannot be read.
        """
        if self._body is None:
            self.asked = None
            if self._rest:
                data, self._rest = self._rest + data, b""
            raw = self._remembered_raw
            if raw and data.startswith(raw):
                head, size = self._remembered, len(raw)
            else:
                data = data.lstrip(b"\r\n")  # RFC 9112, section 2.2
                found = self._find_head(data)
                if found is None:
                    return None
                head, size = found
            assert head is not None
            self.asked = head
            if head.content_length == len(data) - size and not head.chunked:
                return Request(head, data[size:])
            data = self._begin(head, data, size)
        return self._continue(data)

    def _find_head(self, data: bytes) -> tuple[Head, int] | None:
        end = data.find(_END)
        size = len(data) if end < 0 else end + len(_END)
        if size > self._max_header_bytes:
            raise Refusal(431, f"the head of the request is larger than {self._max_header_bytes:,} bytes")
        if end < 0:
            if data and not data[:1].isalpha():
                parse_head(data)  # no method begins so, such as a TLS client's first bytes: told at once
            self._rest = data
            return None
        raw = data[:size]
        self.asked = head = parse_head(raw)
        if head.content_length > self._max_body_bytes:
            raise Refusal(413, f"the body is larger than {self._max_body_bytes:,} bytes: send smaller batches")
        if size <= _LARGEST_REMEMBERED:
            self._remembered_raw, self._remembered = raw, head
        return head, size

    def _begin(self, head: Head, data: bytes, size: int) -> bytes:
        self.waits_for_continue = head.expects_continue and len(data) == size
        if head.chunked:
            self._body = _Chunked(head, _BEFORE_CHUNKS, max_bytes=self._max_body_bytes)
        else:
            self._body = _Counted(head)
        return data[size:]

    def _continue(self, data: bytes) -> Request | None:
        body = self._body
        assert body is not None
        rest = body.add(data)
        if rest is None:
            return None
        self._body, self._rest = None, rest
        return Request(body.head, body.join())


class _Counted:
    """A body as long as its head says."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.size = self._missing = head.content_length
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> bytes | None:
        """Take bytes; return those that follow the body once it is whole."""
        self._parts.append(data[: self._missing])
        rest = data[self._missing :]
        self._missing -= len(self._parts[-1])
        return None if self._missing else rest

    def join(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._parts)


class _Chunked:
    """A body in chunks, which llhttp takes apart."""

    def __init__(self, head: Head, raw: bytes, *, max_bytes: int) -> None:
        self.head, self._max_bytes = head, max_bytes
        self._parts: list[bytes] = []
        self.size, self._whole = 0, False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(raw)

    def on_message_begin(self) -> None:
        """Refuse a second request; llhttp calls this."""
        if self._whole:
            raise Refusal(400, "a request follows one in chunks before that was answered: send one at a time")

    def on_body(self, data: bytes) -> None:
        """Take the data of a chunk, or a piece of it; llhttp calls this."""
        self.size += len(data)
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the last chunk; llhttp calls this."""
        self._whole = True

    def add(self, data: bytes) -> bytes | None:
        """Take bytes; return those that follow, which are none, once the body is whole."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as err:
            if isinstance(err.__context__, Refusal):
                raise err.__context__ from None
            raise Refusal(400, f"the chunks of the body are malformed: {malformed.told(err, data)}") from err
        if self.size > self._max_bytes:
            raise Refusal(413, f"the body is larger than {self._max_bytes:,} bytes: send smaller batches")
        return b"" if self._whole else None

    def join(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._parts)
