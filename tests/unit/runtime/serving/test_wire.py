"""Bytes on the wire: clients of an older HTTP, and what proxies, monitors and browsers send."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator

import pytest

from edgemm_runtime.serving.server import ModelServer

ROW = b"[[0.5, -0.5, 0.25, 1.0]]"


@pytest.fixture
def wire(server: ModelServer) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        yield connection


def ask(wire: socket.socket, raw: bytes, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and read one answer; `head_only` where it has no body, whatever its length says."""
    wire.sendall(raw)
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(wire)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while not head_only and len(body) < int(headers.get("content-length", 0)):
        body += received(wire)
    return int(first.split(" ")[1]), headers, body


def received(wire: socket.socket) -> bytes:
    data = wire.recv(65536)
    assert data, "the server closed the connection"
    return data


def test_a_client_of_http_1_0_keeps_its_connection_where_it_asks(wire: socket.socket) -> None:
    for _ in range(3):
        status, headers, body = ask(wire, b"GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert (status, headers["connection"], body) == (200, "keep-alive", b'{"ready":true}')
    assert ask(wire, b"GET /healthz HTTP/1.0\r\n\r\n")[1]["connection"] == "close"
    assert wire.recv(1) == b""


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/v2", "/v2/models/tiny", "/openapi.json", "/nowhere"])
def test_head_tells_of_what_get_answers(wire: socket.socket, path: str) -> None:
    heads = [
        ask(
            wire,
            f"{method} {path} HTTP/1.1\r\nHost: pi\r\nX-Request-Id: 7\r\nAccept-Encoding: gzip\r\n\r\n".encode(),
            head_only=head,
        )
        for method, head in (("GET", False), ("HEAD", True), ("GET", False))
    ]
    about = [
        (status, {name: value for name, value in headers.items() if name not in {"date", "content-length"}})
        for status, headers, _ in heads
    ]
    assert about[0] == about[1] == about[2]
    assert heads[1][2] == b""
    assert int(heads[1][1]["content-length"]) > 0
    if path != "/metrics":  # counters rise
        assert heads[0][1]["content-length"] == heads[1][1]["content-length"]


def test_head_of_a_path_that_is_asked_by_post_is_405_without_a_body(wire: socket.socket) -> None:
    status, headers, rest = ask(wire, b"HEAD /predict HTTP/1.1\r\nHost: pi\r\n\r\n", head_only=True)
    assert (status, rest) == (405, b"")
    assert int(headers["content-length"]) > 0
    assert ask(wire, b"GET /healthz HTTP/1.1\r\nHost: pi\r\n\r\n")[0] == 200


@pytest.mark.parametrize("scheme", [b"http", b"https", b"HTTP"])
def test_an_absolute_target_is_answered_as_its_path(wire: socket.socket, scheme: bytes) -> None:
    raw = b"POST %s://pi:8080/predict HTTP/1.1\r\nHost: other\r\nContent-Length: %d\r\n\r\n" % (scheme, len(ROW))
    assert ask(wire, raw + ROW)[0] == 200


@pytest.mark.parametrize("name", [b"h2c", b"websocket"])
def test_an_offer_to_upgrade_is_answered_in_http_1_1(wire: socket.socket, name: bytes) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABk\r\n" % name
    get = b"GET /healthz HTTP/1.1\r\nHost: pi\r\n" + offer + b"\r\n"
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ROW), ROW)
    post = b"POST /predict HTTP/1.1\r\nHost: pi\r\n" + offer
    for raw in (get, post + chunks, post + b"Content-Length: %d\r\n\r\n" % len(ROW) + ROW, get):
        status, headers, body = ask(wire, raw)
        assert (status, "upgrade" in headers) == (200, False), body


def test_bodies_compressed_on_the_way_and_in_pieces_are_read(wire: socket.socket) -> None:
    packed = gzip.compress(ROW[:7]) + gzip.compress(ROW[7:])
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    for lines in (
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"TE: gzip, chunked\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ):
        raw = b"POST /predict HTTP/1.1\r\nHost: pi\r\n" + lines + b"\r\n" + chunks
        status, _, body = ask(wire, raw)
        assert status == 200, body


def test_what_asks_no_model_reads_compressed_bodies_too(wire: socket.socket) -> None:
    packed = gzip.compress(b'{"ready":') + gzip.compress(b"true}")
    for path in (b"/v2/repository/index", b"/v2/feedback"):
        raw = b"POST %s HTTP/1.1\r\nHost: pi\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (
            path, len(packed),
        )  # fmt: skip
        _, _, body = ask(wire, raw + packed)
        assert b"READY" in body or b"id is missing" in body, body


@pytest.mark.parametrize(
    "lines", [b"", b"Host: pi\r\nHost: pi\r\n", b"Host: a b\r\n", b"Host: pi\r\nTransfer-Encoding: br, chunked\r\n"]
)
def test_a_request_that_two_could_read_differently_is_refused_and_ends(wire: socket.socket, lines: bytes) -> None:
    status, headers, _ = ask(wire, b"GET /healthz HTTP/1.1\r\n" + lines + b"\r\n")
    assert (status, headers["connection"]) == (501 if b"br" in lines else 400, "close")
    assert wire.recv(1) == b""


def test_every_answer_has_a_date(wire: socket.socket) -> None:
    for first in (b"GET /healthz HTTP/1.1", b"GET /nowhere HTTP/1.1", b"POST /predict HTTP/1.1", b"x"):
        raw = first + b"\r\nHost: pi\r\n\r\n"
        assert ask(wire, raw)[1]["date"].endswith(" GMT")
