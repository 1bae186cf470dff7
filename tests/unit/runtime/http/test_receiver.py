"""Bytes as they arrive, in any pieces → the same requests; what is no request is refused with its status."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.transport.request_head import Refusal
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.http.receiver import Receiver

MAX_HEADER, MAX_BODY = 1000, 5000
COUNTED = b"POST /predict?top=2 HTTP/1.1\r\nHost: pi\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1;x=y\r\ny\r\n0\r\nT: 1\r\n\r\n"
)
BARE = b"GET /%41/caf%C3%A9 HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n"


def receiver() -> Receiver:
    return Receiver(max_header_bytes=MAX_HEADER, max_body_bytes=MAX_BODY)


def receive_all(pieces: list[bytes]) -> list[tuple[str, str, bytes]]:
    """Return method, path and body of every request in the pieces."""
    found, mine = [], receiver()

    def note(request: Request | None) -> None:
        while request is not None:
            found.append((request.head.method, request.head.path, request.body))
            request = None if mine.idle else mine.receive(b"")

    for piece in pieces:
        note(mine.receive(piece))
    assert mine.idle
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_however_the_bytes_are_cut_the_requests_are_the_same(places: list[int], again: bool) -> None:
    data = (COUNTED + BARE + COUNTED + COUNTED if again else COUNTED + BARE) + CHUNKED
    counted = ("POST", "/predict", b"body")
    expected = [counted, ("GET", "/A/café", b""), *([counted, counted] if again else []), ("POST", "/c", b"body")]
    assert receive_all(cut(data, places)) == expected


def test_a_head_tells_query_headers_and_whether_the_connection_stays() -> None:
    request = receiver().receive(COUNTED)
    assert request is not None
    assert (request.head.query, request.header("x-a"), request.head.keep_alive) == ("top=2", "1, 2", True)
    closing = receiver().receive(BARE)
    assert closing is not None
    assert not closing.head.keep_alive
    old = receiver().receive(b"GET / HTTP/1.0\r\n\r\n")
    assert old is not None
    assert not old.head.keep_alive


def test_a_remembered_head_is_not_taken_for_one_that_only_begins_alike() -> None:
    mine = receiver()
    assert mine.receive(COUNTED) is not None
    longer = COUNTED.replace(b"Content-Length: 4", b"Content-Length: 5").replace(b"body", b"longer"[:5])
    request = mine.receive(longer)
    assert request is not None
    assert request.body == b"longe"


def head(*lines: str, first: str = "POST /predict HTTP/1.1", host: str = "Host: pi") -> bytes:
    return "\r\n".join([first, *([host] if host else []), *lines, "", ""]).encode()


REFUSED = {
    "a length and chunks": (head("Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "two lengths": (head("Content-Length: 4", "Content-Length: 5"), 400),
    "two lengths in one line": (head("Content-Length: 4, 4"), 400),
    "a signed length": (head("Content-Length: +4"), 400),
    "a length beyond every machine": (head("Content-Length: 99999999999999999999999"), 400),
    "another transfer coding": (head("Transfer-Encoding: gzip"), 400),
    "white space before the colon": (b"GET / HTTP/1.1\r\nHost : pi\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: pi\r\nA: b\r\n c\r\n\r\n", 400),
    "a null in a header": (b"GET / HTTP/1.1\r\nHost: pi\r\nA: b\0c\r\n\r\n", 400),
    "no host": (head(first="GET / HTTP/1.1", host=""), 400),
    "two hosts": (head("Host: pi"), 400),
    "a tunnel": (head(first="CONNECT other:80 HTTP/1.1"), 400),
    "no such method": (head(first="BREW /pot HTTP/1.1"), 400),
    "no such version": (head(first="GET / HTTP/9.9"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "a body over the limit": (head("Content-Length: 5001"), 413),
    "chunks over the limit": (head("Transfer-Encoding: chunked") + b"1389\r\n" + b" " * 5001, 413),
    "chunks of no length": (head("Transfer-Encoding: chunked") + b"xyz\r\n", 400),
    "a request behind chunks": (CHUNKED + b"G", 400),
    "a head over the limit": (head("A: " + "b" * MAX_HEADER), 431),
    "a head without end over the limit": (b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEADER, 431),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_request_is_refused(case: str) -> None:
    data, status = REFUSED[case]
    with pytest.raises(Refusal) as refusal:
        receiver().receive(data)
    assert refusal.value.status == status
    assert refusal.value.message


def test_who_asks_before_sending_is_told_to_go_on_once() -> None:
    mine = receiver()
    assert mine.receive(head("Content-Length: 4", "Expect: 100-continue")) is None
    assert mine.waits_for_continue
    request = mine.receive(b"body")
    assert request is not None
    assert request.body == b"body"


def test_the_size_of_what_is_under_way_is_told() -> None:
    mine = receiver()
    assert (mine.body_bytes, mine.idle) == (0, True)
    mine.receive(head("Content-Length: 4000") + b"x")
    assert (mine.body_bytes, mine.idle) == (1, False)
    mine = receiver()
    mine.receive(head("Transfer-Encoding: chunked") + b"400\r\n" + b" " * 100)
    assert mine.body_bytes == 100
