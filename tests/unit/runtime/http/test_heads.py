"""The heads of requests: what RFC 9110 and 9112 let a client say, and what they forbid; and the heads of answers."""

from __future__ import annotations

import re

import pytest

from edgemm.transport.request_head import Head, Refusal, parse_head
from edgemm_runtime.http.exchange import Reply
from edgemm_runtime.http.heads import encode_reply
from edgemm_runtime.http.receiver import Receiver


def head(first: str, *lines: str) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


TARGETS = {
    "http://pi/v2?a=1": ("/v2", "a=1", "pi"),
    "HTTP://Pi:8080/%41": ("/A", "", "Pi:8080"),
    "https://[::1]:8443/predict": ("/predict", "", "[::1]:8443"),
    "http://pi": ("/", "", "pi"),
    "http://pi?top=2": ("/", "top=2", "pi"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_an_absolute_target_is_a_path_and_its_host_is_the_host(target: str) -> None:
    found = parse_head(head(f"GET {target} HTTP/1.1", "Host: other"))
    assert (found.path, found.query, found.headers["host"]) == TARGETS[target]


ENDS = {"/": "/", "//": "/", "/a/": "/a", "/a/b//?c=/": "/a/b", "/%2F": "/"}


@pytest.mark.parametrize("target", ENDS)
def test_a_slash_at_the_end_means_nothing(target: str) -> None:
    assert parse_head(head(f"GET {target} HTTP/1.1", "Host: pi")).path == ENDS[target]


@pytest.mark.parametrize("target", ["*", "http://pi", "https://pi:8443"])
def test_options_may_be_asked_of_the_whole_server(target: str) -> None:
    assert parse_head(head(f"OPTIONS {target} HTTP/1.1", "Host: pi")).path == "*"


REFUSED = {
    "no path of one server": head("GET * HTTP/1.1", "Host: pi"),
    "another scheme": head("GET ftp://pi/ HTTP/1.1", "Host: pi"),
    "no host in the target": head("GET http:///v2 HTTP/1.1", "Host: pi"),
    "a user in the target": head("GET http://me@pi/ HTTP/1.1", "Host: pi"),
    "an absolute target without a Host": head("GET http://pi/ HTTP/1.1"),
    "two hosts": head("GET / HTTP/1.1", "Host: pi", "Host: pi"),
    "two hosts in HTTP/1.0": head("GET / HTTP/1.0", "Host: a", "Host: b"),
    "two hosts in one line": head("GET / HTTP/1.1", "Host: a, b"),
    "a path as the host": head("GET / HTTP/1.1", "Host: pi/v2"),
    "a user as the host": head("GET / HTTP/1.1", "Host: me@pi"),
    "a word as the port": head("GET / HTTP/1.1", "Host: pi:http"),
    "chunks in HTTP/1.0": head("POST / HTTP/1.0", "Transfer-Encoding: chunked"),
    "a version before headers": b"GET /\r\n\r\n",
    "a version to come": head("GET / HTTP/2.0", "Host: pi"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "line ends without CR": b"GET / HTTP/1.1\nHost: pi\n\n",
    "spaces in the path": head("GET /a b HTTP/1.1", "Host: pi"),
    "other letters in the path": head("GET /ä HTTP/1.1", "Host: pi"),
    "a line that goes on": head("GET / HTTP/1.1", "Host: pi", "A: b", " c"),
    "a header without a colon": head("GET / HTTP/1.1", "Host: pi", "A"),
    "no method": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_is_refused_in_plain_words(case: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_head(REFUSED[case])
    assert refusal.value.status == 400
    assert not re.search(r"0x|llhttp|`|Invalid|encountered|\\r", refusal.value.message), refusal.value.message


def test_an_empty_host_is_a_host() -> None:
    assert parse_head(head("GET / HTTP/1.1", "Host:")).headers["host"] == ""


UPGRADES = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "websocket": ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="),
}


@pytest.mark.parametrize("offer", UPGRADES)
@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (("Content-Length: 4",), b"body"),
        (("Transfer-Encoding: chunked",), b"1\r\nb\r\n3\r\nody\r\n0\r\n\r\n"),
    ],
)
def test_an_offer_to_upgrade_changes_nothing(offer: str, framing: tuple[str, ...], sent: bytes) -> None:
    raw = head("POST /predict HTTP/1.1", "Host: pi", *UPGRADES[offer], *framing) + sent
    whole, cut = (Receiver(max_header_bytes=9999, max_body_bytes=9999) for _ in range(2))
    request = whole.receive(raw)
    for place in range(0, len(raw), 7):
        again = cut.receive(raw[place : place + 7])
    for found in (request, again):
        assert found is not None
        assert (found.head.method, found.head.path, found.body, found.head.keep_alive) == (
            "POST", "/predict", b"body", True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("Transfer-Encoding: gzip, chunked",), "gzip"),
        (("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), "gzip"),
        (("Content-Encoding: deflate", "Transfer-Encoding: x-gzip,chunked"), "deflate, x-gzip"),
        (("Transfer-Encoding: chunked", "TE: gzip, chunked, trailers"), None),
    ],
)
def test_codings_below_the_chunks_are_those_of_the_body(lines: tuple[str, ...], told: str | None) -> None:
    found = parse_head(head("POST / HTTP/1.1", "Host: pi", *lines))
    assert (found.chunked, found.headers.get("content-encoding")) == (True, told)


@pytest.mark.parametrize("coding", ["br", "identity", "compress", "gzip;q=1"])
def test_a_transfer_coding_that_is_not_known_is_501(coding: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_head(head("POST / HTTP/1.1", "Host: pi", f"Transfer-Encoding: {coding}, chunked"))
    assert refusal.value.status == 501


@pytest.mark.parametrize(
    ("version", "connection", "stays", "said"),
    [
        ("1.1", "", True, None),
        ("1.1", "keep-alive", True, None),
        ("1.1", "close", False, "close"),
        ("1.0", "", False, "close"),
        ("1.0", "Keep-Alive", True, "keep-alive"),
        ("1.0", "keep-alive, close", False, "close"),
    ],
)
def test_an_answer_says_whether_the_connection_stays(
    version: str, connection: str, stays: bool, said: str | None
) -> None:
    asked = parse_head(head(f"GET / HTTP/{version}", "Host: pi", f"Connection: {connection}"))
    assert asked.keep_alive is stays
    lines = encode_reply(Reply(), keep_alive=stays, asked=asked).decode().lower().split("\r\n")
    assert [line for line in lines if line.startswith("connection")] == ([f"connection: {said}"] if said else [])


def test_head_is_answered_with_the_length_of_what_is_left_out() -> None:
    whole, without = (
        encode_reply(Reply(200, b"12345"), keep_alive=True, asked=Head(method, "/")) for method in ("GET", "HEAD")
    )
    assert whole == without + b"12345"
    assert b"Content-Length: 5\r\n" in without


def test_an_answer_without_a_body_says_no_length() -> None:
    assert b"Content-Length" not in encode_reply(Reply(204), keep_alive=True)
