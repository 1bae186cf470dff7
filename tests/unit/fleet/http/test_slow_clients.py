"""Clients that are slow, silent or many, over real sockets: they hold no thread, and end by total times."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgemm.transport.request_head import Head
from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.lanes import Lane
from simulators.waiting import eventually
from tests.unit.fleet.http.raw_clients import HURRIED, Application, RawClient, listening

MANY = 40  # more than there are threads in all lanes together
STARTS = {
    "silent": b"",
    "at a head": b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    "at a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "at chunks": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nab",
}


@pytest.mark.parametrize("start", STARTS)
def test_clients_that_do_not_go_on_hold_up_nobody(start: str) -> None:
    with listening(Application()) as server, ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(RawClient(server)).send(STARTS[start])
        with RawClient(server).ask("/quick") as other:
            assert other.answer().endswith(b"/quick")
        assert server.connections() >= MANY


@pytest.mark.parametrize(
    ("start", "status"), [("at a head", b" 408 "), ("at a body", b" 408 "), ("at chunks", b" 408 ")]
)
def test_a_request_that_trickles_is_ended_by_a_total_time(start: str, status: bytes) -> None:
    with listening(Application(), HURRIED) as server, RawClient(server).send(STARTS[start]) as client:
        client.sock.settimeout(0.05)
        answered = b""
        until_s = time.monotonic() + 30
        while not answered and time.monotonic() < until_s:
            client.send(b"1")  # never silent
            with suppress(TimeoutError):
                answered = client.sock.recv(4096)
        assert status in answered, answered
        assert b"Connection: close" in answered


def test_a_client_that_says_nothing_is_closed() -> None:
    with listening(Application(), HURRIED) as server, RawClient(server) as client:
        assert client.rest() == b""


def test_a_connection_that_is_not_used_any_more_is_closed() -> None:
    with listening(Application(), HURRIED) as server, RawClient(server).ask("/a") as client:
        assert client.answer().endswith(b"/a")
        assert client.rest() == b""


def test_downloads_that_are_not_taken_hold_no_thread_and_are_ended(tmp_path: Path) -> None:
    app = Application()
    app.file = str(tmp_path / "blob")
    (tmp_path / "blob").write_bytes(os.urandom(2 << 20))
    with (
        listening(app, replace(HURRIED, connections=64, address_connections=64, head_s=30)) as server,
        ExitStack() as stack,
    ):
        slow = [stack.enter_context(RawClient(server, receive_bytes=4096)).ask("/file") for _ in range(MANY)]
        with RawClient(server).ask("/quick") as other:
            assert other.answer().endswith(b"/quick")
        eventually(lambda: server.counts().get("slow_download") == MANY, "all are given up")
        assert len(slow) == MANY


def test_a_slow_download_that_moves_comes_to_its_end(tmp_path: Path) -> None:
    app, content = Application(), os.urandom(600_000)
    app.file = str(tmp_path / "blob")
    (tmp_path / "blob").write_bytes(content)
    with (
        listening(app, replace(HURRIED, min_bytes_per_s=1000)) as server,
        RawClient(server, receive_bytes=4096).ask("/file", "Connection: close") as client,
    ):
        found = b""
        while piece := client.sock.recv(20_000):
            found += piece
            time.sleep(0.04)
        assert found.endswith(content)


def test_where_all_downloads_are_taken_whoever_has_most_gives_way(tmp_path: Path) -> None:
    app = Application()
    app.file = str(tmp_path / "blob")
    (tmp_path / "blob").write_bytes(bytes(8 << 20))
    with listening(app, HttpLimits(downloads=4, token_downloads=4)) as server, ExitStack() as stack:
        for _ in range(4):
            greedy = stack.enter_context(RawClient(server, receive_bytes=4096))
            greedy.ask("/file", "Authorization: Bearer greedy").sock.recv(1000)
        with RawClient(server).ask("/file", "Authorization: Bearer greedy") as one_more:
            assert b" 503 " in one_more.sock.recv(1000)
        with RawClient(server).ask("/file", "Authorization: Bearer other", "Connection: close") as other:
            assert len(other.rest()) > 8 << 20
        assert server.counts()["download_gave_way"] == 1


def test_where_places_are_taken_silent_clients_give_way_first() -> None:
    with (
        listening(Application(), replace(HttpLimits(), connections=16, address_connections=16)) as server,
        ExitStack() as stack,
    ):
        kept = stack.enter_context(RawClient(server)).ask("/kept")
        assert kept.answer().endswith(b"/kept")
        for _ in range(40):
            stack.enter_context(RawClient(server))
        with RawClient(server).ask("/new") as new:
            assert new.answer().endswith(b"/new")
        assert kept.ask("/again").answer().endswith(b"/again")
        assert server.connections() <= 16


def test_people_do_not_wait_behind_devices() -> None:
    def lane_of(head: Head, _: str) -> Lane:
        return Lane.DEVICES if head.path == "/wait" else Lane.PEOPLE

    app = Application()
    with listening(app, lane_of=lane_of) as server, ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(RawClient(server)).ask("/wait")
        for _ in range(4):
            app.asked.acquire()
        with RawClient(server).ask("/quick") as other:
            assert other.answer().endswith(b"/quick")


def test_large_bodies_of_strangers_take_no_place_of_uploads() -> None:
    def lane_of(head: Head, _: str) -> Lane:
        return Lane.UPLOADS if head.method == "PUT" else Lane.PUBLIC

    app = Application()
    with listening(app, lane_of=lane_of) as server, ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(RawClient(server)).ask("/wait", "Content-Length: 1000000", method="PUT")
        with RawClient(server).ask("/unread", "Content-Length: 1000000", method="POST") as other:
            assert other.answer().endswith(b"/unread")


def test_answers_that_nobody_takes_leave_memory_for_people() -> None:
    def lane_of(head: Head, _: str) -> Lane:
        return Lane.PEOPLE if head.path == "/large/people" else Lane.DEVICES

    limits = replace(HttpLimits(), memory_bytes=16 << 20)
    with listening(Application(), limits, lane_of=lane_of) as server, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(RawClient(server, receive_bytes=4096)).ask("/large/device")
        eventually(lambda: server.counts().get("full_memory", 0) > 0, "devices' answers have their share")
        with RawClient(server).ask("/large/people") as other:
            assert b" 200 " in other.answer()[:20]


def test_what_finds_no_place_to_wait_is_told_to_come_again() -> None:
    app = Application()
    with listening(app) as server, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server)).ask("/wait") for _ in range(80)]
        refused = [client for client in clients if b" 503 " in _now(client)]
        assert refused
        assert server.counts()["full_people"] == len(refused)
        app.go.set()
        assert all(client.answer().endswith(b"/wait") for client in clients if client not in refused)


def _now(client: RawClient) -> bytes:
    """What has been answered a moment after all have asked."""
    client.sock.settimeout(0.1)
    try:
        return client.sock.recv(4096)
    except TimeoutError:
        return b""
    finally:
        client.sock.settimeout(30)
