"""The receiver of one connection: turns its bytes into whole requests. Pure: no socket, no clock.

A client sends much the same head again and again, so the last one is remembered with its bytes. A request that begins
with these very bytes is not parsed again.
"""

from __future__ import annotations

from io import BytesIO

import httptools

from edgemm.transport import malformed
from edgemm.transport.request_head import Head, Refusal, check_begun, check_blank, check_framing, parse_head
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.memory.memory_budget import UNBOUNDED, Holding, MemoryBudget

_END = b"\r\n\r\n"
_BEFORE_CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
"""What llhttp is told before chunks: a head of its own, for with an offer of an upgrade it reads no body."""
_LARGEST_REMEMBERED = 4096
_STEP_BYTES = 64 * 1024
GRANTED_BYTES = 16 * 1024
"""What the first bytes of a request take is part of what its connection takes, which is counted as such."""


class Receiver:
    """Bytes in, requests out, one at a time; of pipelined ones the next is had by `receive(b"")`.

    What is received may take half of the budget: the other half is for those that are whole, to be decoded and
    answered. Else bodies that wait would fill it, and none of them could be answered.
    """

    def __init__(self, *, max_header_bytes: int, max_body_bytes: int, budget: MemoryBudget = UNBOUNDED) -> None:
        self._max_header_bytes, self._max_body_bytes = max_header_bytes, max_body_bytes
        self._budget, self._leaving = budget, budget.total_bytes // 2
        self._rest, self._blank = b"", 0
        self._surplus = Holding(budget, GRANTED_BYTES)
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
        """What has come of the body that is under way."""
        return self._body.size if self._body is not None else 0

    def forget(self) -> None:
        """Give back what has come: nothing of it will be asked for."""
        self._body = None
        self._keep(b"")

    def receive(self, data: bytes) -> Request | None:
        """Take what has arrived; return a request as soon as it is whole.

        Raises:
            Refusal: it is malformed or over a limit; the rest of the connection cannot be read.
            TooLargeError, UnavailableError: there is no memory for it, ever or now; as after a refusal.
        """
        if self._body is None:
            self.asked = None
            if self._rest:
                data = self._rest + data
                self._keep(b"")
            raw = self._remembered_raw
            if raw and data.startswith(raw):
                head, size = self._remembered, len(raw)
            else:
                data = self._without_blank(data)
                found = self._find_head(data)
                if found is None:
                    return None
                head, size = found
            assert head is not None
            self.asked = head
            holding = Holding(self._budget, GRANTED_BYTES)
            if head.content_length == len(data) - size and not head.chunked:
                if head.content_length > GRANTED_BYTES:
                    holding.grow(head.content_length, leaving=self._leaving)
                return Request(head, data[size:], holding)
            data = self._begin(head, data, size, holding)
        return self._continue(data)

    def _without_blank(self, data: bytes) -> bytes:
        """Pass over empty lines before a request, as many as a client may send (RFC 9112, section 2.2)."""
        if data[:1] not in {b"\r", b"\n"}:
            self._blank = 0
            return data
        stripped = data.lstrip(b"\r\n")
        self._blank += len(data) - len(stripped)
        check_blank(self._blank)
        if stripped:
            self._blank = 0
        return stripped

    def _find_head(self, data: bytes) -> tuple[Head, int] | None:
        end = data.find(_END)
        size = len(data) if end < 0 else end + len(_END)
        if size > self._max_header_bytes:
            raise Refusal(431, f"the head of the request is larger than {self._max_header_bytes:,} bytes")
        if end < 0:
            check_begun(data)
            self._keep(data)
            return None
        raw = data[:size]
        self.asked = head = parse_head(raw)
        if head.content_length > self._max_body_bytes:
            raise Refusal(413, f"the body is larger than {self._max_body_bytes:,} bytes: send smaller batches")
        if size <= _LARGEST_REMEMBERED:
            self._remembered_raw, self._remembered = raw, head
        return head, size

    def _begin(self, head: Head, data: bytes, size: int, holding: Holding) -> bytes:
        holding.check(head.content_length, leaving=self._leaving)
        self.waits_for_continue = head.expects_continue and len(data) == size
        if head.chunked:
            self._body = _Chunked(head, holding, self._leaving, max_bytes=self._max_body_bytes)
        else:
            self._body = _Counted(head, holding, self._leaving)
        return data[size:]

    def _keep(self, rest: bytes) -> None:
        """Keep what belongs to a next request, or to the rest of a head."""
        self._surplus.shrink(self._surplus.held_bytes)
        self._surplus.grow(len(rest))
        self._rest = rest

    def _continue(self, data: bytes) -> Request | None:
        body = self._body
        assert body is not None
        rest = body.add(data)
        if rest is None:
            return None
        self._body = None
        if rest:
            self._keep(rest)
        whole = body.whole()
        body.holding.shrink(body.holding.held_bytes - len(whole))
        return Request(body.head, whole, body.holding)


class _Body:
    """A body that is under way, in one piece of memory however it comes."""

    def __init__(self, head: Head, holding: Holding, leaving: int) -> None:
        self.head, self.holding, self._leaving = head, holding, leaving
        self._buffer = BytesIO()
        self.size = 0

    def whole(self) -> bytes:
        """Return the body; CPython hands out the very memory that it was gathered in."""
        return self._buffer.getvalue()

    def _grow(self, count: int) -> None:
        """Hold `count` more bytes, and what the buffer keeps in reserve to grow."""
        self.size += count
        reserve = self.size + self.size // 8
        if reserve > self.holding.held_bytes:
            self.holding.grow(max(reserve - self.holding.held_bytes, _STEP_BYTES), leaving=self._leaving)


class _Counted(_Body):
    """A body as long as its head says."""

    def add(self, data: bytes) -> bytes | None:
        """Take bytes; return those that follow the body once it is whole."""
        missing = self.head.content_length - self.size
        mine = data if len(data) <= missing else data[:missing]
        self._grow(len(mine))
        self._buffer.write(mine)
        return None if len(data) < missing else data[missing:]


class _Chunked(_Body):
    """A body in chunks, which llhttp takes apart."""

    def __init__(self, head: Head, holding: Holding, leaving: int, *, max_bytes: int) -> None:
        super().__init__(head, holding, leaving)
        self._max_bytes, self._came = max_bytes, 0
        self._ends = _Ends(self._buffer)
        self._parser = httptools.HttpRequestParser(self._ends)
        self._parser.feed_data(_BEFORE_CHUNKS)

    def add(self, data: bytes) -> bytes | None:
        """Take bytes; return those that follow, which are none, once the body is whole."""
        self.holding.grow(len(data), leaving=self._leaving)  # what the chunks in it have together is less
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as err:
            if isinstance(err.__context__, Refusal):
                raise err.__context__ from None
            raise Refusal(400, f"the chunks of the body are malformed: {malformed.told(err, data)}") from err
        self.holding.shrink(len(data))
        self._grow(self._buffer.tell() - self.size)
        self._came += len(data)
        check_framing(self._came, body=self.size)
        if self.size > self._max_bytes:
            raise Refusal(413, f"the body is larger than {self._max_bytes:,} bytes: send smaller batches")
        return b"" if self._ends.whole else None


class _Ends:
    """What llhttp calls back: not the body itself, so that the parser and the body are no cycle of references."""

    def __init__(self, buffer: BytesIO) -> None:
        self.on_body = buffer.write
        self.whole = False

    def on_message_begin(self) -> None:
        """Refuse a second request."""
        if self.whole:
            raise Refusal(400, "a request follows one in chunks before that was answered: send one at a time")

    def on_message_complete(self) -> None:
        """Note the end of the last chunk."""
        self.whole = True
