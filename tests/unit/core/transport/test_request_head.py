"""What is refused before a head is whole, and beside a body: for a device's server and for a fleet's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgemm.transport.request_head import Refusal
from edgemm_fleet.http.intake import Intake
from edgemm_runtime.http.receiver import Receiver

CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class DeviceSide:
    """A device's way from bytes to requests."""

    def __init__(self) -> None:
        self._receiver = Receiver(max_header_bytes=65536, max_body_bytes=1 << 20)

    def feed(self, data: bytes) -> bool:
        return self._receiver.receive(data) is not None


class FleetSide:
    """A fleet manager's."""

    def __init__(self) -> None:
        self._intake, self._at_body = Intake(max_head_bytes=65536), False

    def feed(self, data: bytes) -> bool:
        self._intake.feed(data)
        if not self._at_body:
            if (head := self._intake.head()) is None:
                return False
            self._intake.begin(head, lambda _: None)
        self._at_body = not self._intake.body()
        return not self._at_body


SIDES = pytest.mark.parametrize("side", [DeviceSide, FleetSide])


def status(side: Any, *pieces: bytes) -> int:
    """Return how pieces are refused."""
    with pytest.raises(Refusal) as refused:
        for piece in pieces:
            side.feed(piece)
    return refused.value.status


@SIDES
@pytest.mark.parametrize(
    "pieces",
    [(b"GET /a HTTP/1.1\n",), (b"GET /a HTTP/1.1\r\nHost: x\n",), (b"GET /a HTTP/1.1\r\nHost: x", b"\nA: b\r\n"),
     (b"GET /a HTTP/1.1\nHost: x\n\n",)],
)  # fmt: skip
def test_a_line_that_ends_without_cr_is_told_at_once(side: Callable[[], Any], pieces: tuple[bytes, ...]) -> None:
    assert status(side(), *pieces) == 400


@SIDES
def test_a_head_in_pieces_of_one_byte_is_no_fault(side: Callable[[], Any]) -> None:
    found = side()
    head = b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    assert [found.feed(bytes([one])) for one in head] == [False] * (len(head) - 1) + [True]


@SIDES
def test_some_empty_lines_between_requests_are_passed_over_and_many_are_refused(side: Callable[[], Any]) -> None:
    found = side()
    for _ in range(40):  # each request may have some
        assert found.feed(b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status(found, *[b"\r\n"] * 1000) == 400
    assert status(side(), b"\r\n" * 1000) == 400


@SIDES
@pytest.mark.parametrize(
    "pieces",
    [
        (b"5;a=", *[b"x" * 1000] * 2000),
        (b"1\r\nx\r\n0\r\n", *[b"A: %s\r\n" % (b"x" * 1000)] * 2000),
        tuple(b"1;%s\r\nx\r\n" % (b"e" * 1000) for _ in range(2000)),
    ],
    ids=["an extension", "trailers", "many extensions"],
)
def test_what_is_in_chunks_and_no_body_has_a_bound(side: Callable[[], Any], pieces: tuple[bytes, ...]) -> None:
    assert status(side(), CHUNKED, *pieces) == 431


@SIDES
def test_chunks_of_one_byte_with_a_trailer_are_a_body(side: Callable[[], Any]) -> None:
    found = side()
    assert not found.feed(CHUNKED)
    for _ in range(50_000):
        assert not found.feed(b"1\r\nx\r\n")
    assert found.feed(b"0\r\nDigest: x\r\n\r\n")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Content-Length: 3\r\nContent-Encoding: gzip\r\n", 415),
        (b"Content-Length: 3\r\nContent-Encoding: br\r\n", 415),
    ],
)
def test_a_fleet_takes_no_compressed_body_for_one_that_is_not(lines: bytes, expected: int) -> None:
    assert status(FleetSide(), b"POST /a HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n") == expected


def test_a_body_that_says_that_it_is_not_compressed_is_taken() -> None:
    assert FleetSide().feed(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nx")
