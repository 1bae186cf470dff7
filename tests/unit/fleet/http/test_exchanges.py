"""Requests and answers over real sockets: what RFC 9112 asks of a server, bodies of any size, files, and the end."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from edgemm.transport.request_head import Head
from edgemm_fleet.http.environ import ProxiedFiles
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.http.reactor import READABLE
from simulators.waiting import eventually
from tests.unit.fleet.http.raw_clients import HURRIED, Application, RawClient, listening

LARGE = 3 << 20


def uploads(head: Head, _: str) -> Lane:
    return Lane.UPLOADS if head.method == "PUT" else Lane.PEOPLE


def test_requests_sent_ahead_are_answered_in_their_order() -> None:
    with listening(Application()) as server, RawClient(server) as client:
        for path in ("/a", "/b", "/c"):
            client.ask(path)
        assert [client.answer()[-2:] for _ in range(3)] == [b"/a", b"/b", b"/c"]


def test_an_event_of_a_moment_ago_ends_no_request() -> None:
    """A request that was sent ahead may begin before the loop comes to the event that told of it."""
    app = Application()
    with listening(app) as server, RawClient(server) as client:
        client.ask("/wait")
        assert app.asked.acquire(timeout=60)
        reactor, conversations = server._reactor, server._conversations
        assert reactor is not None
        assert conversations is not None
        [peer] = conversations.peers.values()
        reactor.call(lambda: conversations._ready(peer, READABLE))
        reactor.call(app.go.set)
        assert client.answer().endswith(b"/wait")


def test_a_client_that_is_gone_is_given_up_while_a_thread_works() -> None:
    app = Application()
    with listening(app) as server:
        with RawClient(server) as client:
            client.ask("/wait")
            assert app.asked.acquire(timeout=60)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conversations = server._conversations
        assert conversations is not None
        eventually(lambda: not conversations.peers, "the connection is closed")


def test_a_thousand_requests_ahead_are_no_recursion() -> None:
    with listening(Application()) as server, RawClient(server) as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        assert all(client.answer().endswith(b"/a") for _ in range(1000))


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 7"], b"1234567"),
        (["Transfer-Encoding: chunked"], b"3\r\n123\r\n4\r\n4567\r\n0\r\n\r\n"),
        (["Content-Length: 0"], b""),
    ],
)
def test_a_body_is_the_applications_input_in_either_framing(lines: list[str], body: bytes) -> None:
    app = Application()
    with listening(app) as server, RawClient(server) as client:
        for _ in range(2):  # the connection stays in step
            assert client.ask("/a", *lines, method="POST", body=body).answer().endswith(b"/a")
            assert app.read == (b"1234567" if body else b"")


def test_a_body_that_comes_in_pieces_is_put_together() -> None:
    app = Application()
    with listening(app) as server, RawClient(server).ask("/a", "Content-Length: 6", method="POST") as client:
        for piece in (b"12", b"34", b"56"):
            client.send(piece)
            time.sleep(0.02)
        assert client.answer().endswith(b"/a")
        assert app.read == b"123456"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_read_as_it_comes(chunked: bool) -> None:
    app, body = Application(), os.urandom(LARGE)
    lines = ["Transfer-Encoding: chunked"] if chunked else [f"Content-Length: {LARGE}"]
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (LARGE, body) if chunked else body
    with listening(app, lane_of=uploads) as server, RawClient(server) as client:
        assert client.ask("/a", *lines, method="PUT", body=sent).answer().endswith(b"/a")
        assert app.read == body
        assert client.ask("/b").answer().endswith(b"/b")


def test_a_large_body_that_breaks_off_ends_the_threads_wait() -> None:
    app = Application()
    with listening(app, lane_of=uploads) as server:
        with RawClient(server).ask("/a", f"Content-Length: {LARGE}", method="PUT", body=b"1" * 1000):
            app.asked.acquire()
        eventually(lambda: app.fault is not None, "the thread is told")


def test_a_client_that_ends_its_side_within_a_body_is_answered_once_the_thread_is_done() -> None:
    app = Application()
    with (
        listening(app, lane_of=uploads) as server,
        RawClient(server).ask("/a", f"Content-Length: {LARGE}", method="PUT", body=b"1" * 1000) as client,
    ):
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest().endswith(b"/a")
        assert app.fault is not None


def test_a_large_body_that_trickles_ends_the_threads_wait() -> None:
    app = Application()
    with listening(app, HURRIED, lane_of=uploads) as server:
        with RawClient(server).ask("/a", f"Content-Length: {LARGE}", method="PUT", body=b"1") as client:
            assert b" 408 " in client.rest()
        eventually(lambda: app.fault is not None, "the thread is told")


def test_an_answer_before_the_end_of_a_body_is_heard() -> None:
    with (
        listening(Application(), lane_of=uploads) as server,
        RawClient(server).ask("/unread", f"Content-Length: {LARGE}", method="PUT", body=b"1" * 1000) as client,
    ):
        answered = client.rest()
        assert answered.endswith(b"/unread")
        assert b"Connection: close" in answered


def test_a_body_in_chunks_that_is_gathered_has_a_limit() -> None:
    with listening(Application()) as server:
        body = b"%x\r\n%s\r\n" % (300_000, b"1" * 300_000)
        with RawClient(server).ask("/a", "Transfer-Encoding: chunked", method="POST", body=body) as client:
            assert b" 413 " in client.answer()


def test_who_asks_first_is_told_to_go_on() -> None:
    with listening(Application()) as server, RawClient(server) as client:
        client.ask("/a", "Content-Length: 2", "Expect: 100-continue", method="POST")
        assert client.answer().startswith(b"HTTP/1.1 100 ")
        assert client.send(b"12").answer().endswith(b"/a")


def test_head_has_the_length_and_no_body() -> None:
    with listening(Application()) as server, RawClient(server) as client:
        found = client.ask("/a", "Connection: close", method="HEAD").rest()
        assert b"Content-Length: 2\r\n" in found
        assert found.endswith(b"\r\n\r\n")


def test_a_client_that_ends_its_side_is_still_answered() -> None:
    with listening(Application()) as server, RawClient(server).ask("/a") as client:
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest().endswith(b"/a")


AMBIGUOUS = {
    "a length beside chunks": ["Content-Length: 4", "Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: 4", "Content-Length: 5"],
    "a space before the colon": ["Content-Length : 4"],
    "chunks not last": ["Transfer-Encoding: chunked, gzip"],
    "a signed length": ["Content-Length: +4"],
    "a line end without CR": ["A: b\nContent-Length: 4"],
    "a folded line": ["A: b\r\n c"],
    "two hosts": ["Host: y"],
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_two_servers_could_read_differently_is_refused(case: str) -> None:
    app = Application()
    with listening(app) as server, RawClient(server) as client:
        client.ask("/a", *AMBIGUOUS[case], method="POST", body=b"1234GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 400 " in client.rest().split(b"\r\n", 1)[0]
        assert app.environs == []


def test_a_header_with_an_underscore_is_not_another_ones() -> None:
    app = Application()
    with listening(app) as server, RawClient(server).ask("/a", "X_Forwarded_For: 1", "X-A: 2") as client:
        client.answer()
        assert "HTTP_X_FORWARDED_FOR" not in app.environs[0]
        assert app.environs[0]["HTTP_X_A"] == "2"


def test_an_address_is_the_proxys_word_only_behind_a_proxy() -> None:
    app = Application()
    for behind, address in ((False, "127.0.0.1"), (True, "192.0.2.7")):
        with listening(app, behind_proxy=behind) as server, RawClient(server) as client:
            client.ask("/a", "X-Forwarded-For: 10.0.0.1, 192.0.2.7").answer()
            assert app.environs[-1]["REMOTE_ADDR"] == address


def test_a_proxy_that_can_read_a_file_is_told_to_send_it(tmp_path: Path) -> None:
    app = Application()
    app.file = str(tmp_path / "blob")
    (tmp_path / "blob").write_bytes(b"secret")
    with (
        listening(app, behind_proxy=True, proxied=ProxiedFiles(tmp_path, "/below/")) as server,
        RawClient(server).ask("/file", "Connection: close") as client,
    ):
        found = client.rest()
        assert b"X-Accel-Redirect: /below/blob\r\n" in found
        assert b"secret" not in found
        assert str(tmp_path).encode() not in found


def test_a_file_is_sent_whole_and_its_place_not_told(tmp_path: Path) -> None:
    app, content = Application(), os.urandom(LARGE)
    app.file = str(tmp_path / "blob")
    (tmp_path / "blob").write_bytes(content)
    with listening(app) as server, RawClient(server) as client:
        for _ in range(2):
            found = client.ask("/file").answer()
            assert found.endswith(content)
            assert b"sendfile" not in found.lower()


def test_a_fault_of_the_application_is_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    with listening(Application()) as server, RawClient(server) as client:
        assert b" 503 " in client.ask("/fault").answer()
        assert client.ask("/a").answer().endswith(b"/a")


def test_stopping_waits_for_what_is_being_answered() -> None:
    app = Application()
    with listening(app) as server:
        with RawClient(server).ask("/wait") as client, RawClient(server) as idle:
            app.asked.acquire()
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            assert idle.rest() == b""  # at once
            app.go.set()
            answered = client.rest()
            assert answered.endswith(b"/wait")
            assert b"Connection: close" in answered
            stopping.join(30)
            assert not stopping.is_alive()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port))
