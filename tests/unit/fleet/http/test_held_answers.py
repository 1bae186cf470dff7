"""Answers that wait for something hold no thread, are given together, and may turn out otherwise."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from edgemm_fleet.http.answers import ServedAnswer, refusal
from edgemm_fleet.http.environ import HOLD
from edgemm_fleet.http.lanes import SIZES, Lane
from simulators.waiting import eventually
from tests.unit.fleet.http.raw_clients import Application, RawClient, listening

Give = Callable[[ServedAnswer | None], None]


class Holding(Application):
    """Holds the answer to `/hold` until a test gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Give] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/hold":
            environ[HOLD](self.held.append)
        return super().__call__(environ, start)


def test_more_answers_are_held_than_there_are_threads_and_others_are_answered() -> None:
    app, count = Holding(), 10 * SIZES[Lane.PEOPLE].threads
    with listening(app) as server, ExitStack() as stack:
        waiting = [stack.enter_context(RawClient(server)).ask("/hold") for _ in range(count)]
        eventually(lambda: len(app.held) == count, "all are held")
        with RawClient(server) as other:
            assert other.ask("/now").answer().endswith(b"/now")
        for give in app.held:
            give(None)
        assert all(client.answer().endswith(b"/hold") for client in waiting)
        with RawClient(server) as again:
            again.ask("/hold")
            eventually(lambda: len(app.held) == count + 1, "it is held")
            app.held[-1](refusal(503, "the disk is full"))
            assert b"503" in again.answer().splitlines()[0]


def test_an_answer_that_was_held_for_a_client_that_is_gone_goes_nowhere() -> None:
    app = Holding()
    with listening(app) as server:
        with RawClient(server) as client:
            client.ask("/hold")
            eventually(lambda: app.held, "it is held")
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conversations = server._conversations
        assert conversations is not None
        eventually(lambda: not conversations.peers, "the connection is closed")
        threading.Thread(target=app.held[0], args=(None,)).start()
        with RawClient(server) as other:
            assert other.ask("/now").answer().endswith(b"/now")
