"""The intake of one connection: turns its bytes into heads and bodies. Pure: no socket, no clock.

    intake.feed(data)
    if (head := intake.head()) is not None:
        intake.begin(head, sink)
    if intake.body():  # whole
        ...

One request at a time; what follows it waits here.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools

from edgemm.transport import malformed
from edgemm.transport.request_head import Head, Refusal, check_begun, check_blank, check_framing, parse_head

_END = b"\r\n\r\n"
_BEFORE_CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
"""What llhttp is told before chunks: a head of its own, for with an offer of an upgrade it reads no body."""
Sink = Callable[[bytes], object]
"""Takes the next bytes of a body."""


class Intake:
    """Bytes in; heads, and bodies into a sink."""

    def __init__(self, *, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._rest = b""
        self._searched = self._blank = 0
        self._body: _Counted | _Chunked | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come."""
        return self._body is None and not self._rest

    @property
    def waiting(self) -> bool:
        """Whether bytes have come that nobody has taken yet."""
        return bool(self._rest)

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._rest = self._rest + data if self._rest else data

    def forget(self) -> None:
        """Drop what has come: nothing of it will be asked for."""
        self._rest, self._searched, self._body = b"", 0, None

    def head(self) -> Head | None:
        """Return the head of the next request, as soon as it is whole.

        Raises:
            Refusal: it is malformed or too large, or its body is compressed; the rest of the connection cannot be
                read.
        """
        if not self._searched and self._rest[:1] in {b"\r", b"\n"}:
            self._pass_over_blank()
        data = self._rest
        end = data.find(_END, max(0, self._searched - len(_END)))
        size = len(data) if end < 0 else end + len(_END)
        if size > self._max_head_bytes:
            raise Refusal(431, f"the head of the request is larger than {self._max_head_bytes:,} bytes")
        if end < 0:
            check_begun(data, searched=self._searched)
            self._searched = size
            return None
        head = parse_head(data[:size])
        _check_codings(head)
        self._rest, self._searched, self._blank = data[size:], 0, 0
        return head

    def begin(self, head: Head, sink: Sink) -> None:
        """Have the body that follows a head given to a sink."""
        self._body = _Chunked(sink) if head.chunked else _Counted(head.content_length, sink)

    def body(self) -> bool:
        """Give what has come of the body to its sink; tell whether it is whole.

        Raises:
            Refusal: its chunks are malformed; and what the sink raises.
        """
        assert self._body is not None
        data, self._rest = self._rest, b""
        rest = self._body.add(data)
        if rest is None:
            return False
        self._rest, self._body = rest, None
        return True

    def _pass_over_blank(self) -> None:
        stripped = self._rest.lstrip(b"\r\n")  # RFC 9112, section 2.2
        self._blank += len(self._rest) - len(stripped)
        self._rest = stripped
        check_blank(self._blank)


def _check_codings(head: Head) -> None:
    """Refuse a compressed body, which nobody here would decompress (RFC 9112, section 6.1; RFC 9110, section 8.4)."""
    transfer = head.headers.get("transfer-encoding", "chunked").strip().lower()
    if transfer != "chunked":
        raise Refusal(501, f"Transfer-Encoding: expected chunked alone, found {transfer[:40]!r}")
    content = head.headers.get("content-encoding", "").strip().lower()
    if content not in {"", "identity"}:
        raise Refusal(415, f"Content-Encoding: expected none, found {content[:40]!r}: send the body as it is")


class _Counted:
    """A body as long as its head says."""

    def __init__(self, length: int, sink: Sink) -> None:
        self._missing, self._sink = length, sink

    def add(self, data: bytes) -> bytes | None:
        """Take bytes; return those that follow the body once it is whole."""
        mine, rest = (data, b"") if len(data) <= self._missing else (data[: self._missing], data[self._missing :])
        self._missing -= len(mine)
        if mine:
            self._sink(mine)
        return None if self._missing else rest


class _Chunked:
    """A body in chunks, which llhttp takes apart."""

    def __init__(self, sink: Sink) -> None:
        self._ends, self._came = _Ends(sink), 0
        self._parser = httptools.HttpRequestParser(self._ends)
        self._parser.feed_data(_BEFORE_CHUNKS)

    def add(self, data: bytes) -> bytes | None:
        """Take bytes; return those that follow, which are none, once the body is whole."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as err:
            if isinstance(err.__context__, Refusal):
                raise err.__context__ from None
            raise Refusal(400, f"the chunks of the body are malformed: {malformed.told(err, data)}") from err
        self._came += len(data)
        check_framing(self._came, body=self._ends.size)
        return b"" if self._ends.whole else None


class _Ends:
    """What llhttp calls back."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self.size = sink, 0
        self.whole = False

    def on_body(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        self.size += len(data)
        self._sink(data)

    def on_message_begin(self) -> None:
        """Refuse a second request."""
        if self.whole:
            raise Refusal(400, "a request follows one in chunks before that was answered: send one at a time")

    def on_message_complete(self) -> None:
        """Note the end of the last chunk."""
        self.whole = True
