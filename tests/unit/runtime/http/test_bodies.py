"""Bodies as clients compress them: every member and every coding, and never more than the limit."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from edgemm.errors import BadRequestError, RequestError, TooLargeError
from edgemm.transport.request_head import Head
from edgemm_runtime.http.bodies import decompress, plain_body
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.memory.memory_budget import UNBOUNDED

MAX = 100_000


def member(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


PLAIN = {
    "one member": (member(b"[1]"), "gzip"),
    "as it was called": (member(b"[1]"), "X-GZIP"),
    "several members": (member(b"[") + member(b"1") + member(b"]"), "gzip"),
    "empty members": (member(b"") + member(b"[1]") + member(b""), "gzip"),
    "zeros behind it": (member(b"[1]") + b"\0" * 70_000, "gzip"),
    "deflate": (zlib.compress(b"[1]"), "deflate"),
    "one in another": (member(zlib.compress(b"[1]")), "deflate, gzip"),
    "nothing by name": (b"[1]", "identity, "),
    "thousands of members": (b"".join(map(member, [b"[", *[b" "] * 4000, b"1]"])), "gzip"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_body_comes_back_whole(case: str) -> None:
    body, encoding = PLAIN[case]
    assert decompress(body, encoding=encoding, max_bytes=MAX, holding=UNBOUNDED.holding()).replace(b" ", b"") == b"[1]"


def test_members_that_end_anywhere_come_back() -> None:
    pieces = [random.Random(seed).randbytes(seed * 1499) for seed in range(60)]
    body = b"".join(map(member, pieces))
    assert decompress(body, encoding="gzip", max_bytes=10**7, holding=UNBOUNDED.holding()) == b"".join(pieces)


REFUSED = {
    "something behind it": (member(b"a") + b"more", BadRequestError),
    "something behind zeros": (member(b"a") + b"\0\0more", BadRequestError),
    "a member that is cut": (member(b"a") + member(b"b")[:-1], BadRequestError),
    "members that are too large together": (member(b"a" * 60_000) * 2, TooLargeError),
    "one that is": (member(b"a" * 10**7), TooLargeError),
    "too many members": (member(b"") * 100_000, TooLargeError),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_damaged_or_too_large_is_refused(case: str) -> None:
    body, kind = REFUSED[case]
    with pytest.raises(kind) as refusal:
        decompress(body, encoding="gzip", max_bytes=MAX, holding=UNBOUNDED.holding())
    assert "Error -" not in str(refusal.value), "zlib's own words"


@pytest.mark.parametrize("encoding", ["br", "gzip, br", "gzip, " * 5 + "gzip", "deflate"])
def test_codings_that_are_not_here_or_not_of_the_body_are_refused(encoding: str) -> None:
    with pytest.raises(RequestError):
        decompress(member(b"a") * 2, encoding=encoding, max_bytes=MAX, holding=UNBOUNDED.holding())


def test_a_byte_order_mark_is_no_part_of_a_body_but_of_its_length() -> None:
    marked = b"\xef\xbb\xbf[1]"
    assert plain_body(Request(Head("POST", "/"), marked), max_bytes=MAX) == b"[1]"
    packed = Request(Head("POST", "/", headers={"content-encoding": "gzip"}), member(marked))
    assert plain_body(packed, max_bytes=MAX) == b"[1]"
    counted = Head("POST", "/", headers={"inference-header-content-length": "6"})
    assert plain_body(Request(counted, marked), max_bytes=MAX) == marked
