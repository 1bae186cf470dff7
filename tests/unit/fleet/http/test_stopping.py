"""The end of a server: what was sent before its clients could know is answered, and says that it is the last."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.http_server import HttpServer, HttpSettings
from simulators.waiting import eventually
from tests.unit.fleet.http.raw_clients import Application, RawClient

PATIENT = HttpLimits(drain_s=60.0)


def test_stop_answers_what_was_sent_before_its_clients_could_know(tmp_path: Path) -> None:
    server = HttpServer(Application(), HttpSettings("127.0.0.1", 0, limits=PATIENT))
    server.start()
    reactor = server._reactor
    assert reactor is not None
    entered, leave = threading.Event(), threading.Event()
    with RawClient(server) as kept:
        assert b"Connection: close" not in kept.ask("/kept").answer()

        def hold() -> None:
            entered.set()
            assert leave.wait(60)

        reactor.call(hold)
        assert entered.wait(60)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        eventually(lambda: len(reactor._calls) > 1, "the loop is told to end while it is busy")
        with RawClient(server) as new, RawClient(server) as late:
            for client in (kept, new):
                client.ask("/asked")
            late.send("GET /late HTTP/1.1\r\n")
            leave.set()
            for client in (kept, new):
                answer = client.answer()
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"Connection: close" in answer
            late.send("Host: x\r\n\r\n")
            assert b"Connection: close" in late.answer()
    stopping.join(60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_an_answer_that_was_promised_to_be_followed_by_others_is(tmp_path: Path) -> None:
    """Its head was sent before the end began, so its client may ask again."""
    app = Application()
    large = tmp_path / "file"
    large.write_bytes(bytes(8 << 20))
    app.file = str(large)
    server = HttpServer(app, HttpSettings("127.0.0.1", 0, limits=PATIENT))
    server.start()
    with RawClient(server, receive_bytes=4096) as client:
        client.ask("/file")
        head = client.sock.recv(1)
        while b"\r\n\r\n" not in head:
            head += client.sock.recv(1)
        assert b"Connection: close" not in head
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        conversations = server._conversations
        assert conversations is not None
        eventually(lambda: conversations._draining, "the end has begun")
        missing = large.stat().st_size
        while missing:
            missing -= len(client.sock.recv(missing))
        assert b"Connection: close" in client.ask("/again").answer()
    stopping.join(60)
    assert not stopping.is_alive()


def test_a_connection_without_a_request_does_not_hold_up_the_end() -> None:
    server = HttpServer(Application(), HttpSettings("127.0.0.1", 0, limits=PATIENT))
    server.start()
    with RawClient(server) as silent, RawClient(server) as kept:
        kept.ask("/a").answer()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert (silent.rest(), kept.rest()) == (b"", b"")
        stopping.join(60)
        assert not stopping.is_alive()
