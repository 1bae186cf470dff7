"""Connections that are moved from one event loop to another while their clients ask."""

from __future__ import annotations

import http.client
import itertools
import json
import threading

import pytest

from edgemm_runtime.http.client import Connection
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.loop import EventLoop
from edgemm_runtime.http.spread import LoopWindow, Spread, Way
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer

CLIENTS, REQUESTS = 8, 250


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[Way]:
    """A choice that changes with every look; what was chosen."""
    chosen: list[Way] = []
    turns = itertools.cycle((Way.ALL, Way.ONE))

    def tell(spread: Spread, _window: LoopWindow) -> Way:
        spread.way = next(turns)
        chosen.append(spread.way)
        return spread.way

    monkeypatch.setattr(Spread, "tell", tell)
    monkeypatch.setattr("edgemm_runtime.http.spreading.WINDOW_S", 0.005)
    return chosen


def _ask(server: ModelServer, number: int, wrong: list[object]) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    expected = None
    for _ in range(REQUESTS):
        connection.request("POST", "/predict", body=json.dumps([[0.1 * number, -0.5, 0.25, 1.0]]))
        reply = connection.getresponse()
        found = (reply.status, reply.read())
        expected = expected or found
        if found != expected or found[0] != 200:
            wrong.append(found)
    connection.close()


def test_no_request_is_lost_while_connections_move(
    registry: ModelRegistry, ways: list[Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    welcome = EventLoop._welcome

    def told(loop: EventLoop, connection: Connection) -> None:
        moved.append(loop._name)
        welcome(loop, connection)

    monkeypatch.setattr(EventLoop, "_welcome", told)
    wrong: list[object] = []
    with ModelServer(registry, limits=ServingLimits(loops=2)) as server:
        clients = [threading.Thread(target=_ask, args=(server, number, wrong)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(120)
        assert not any(client.is_alive() for client in clients)
        assert server._statuses()[200] == CLIENTS * REQUESTS
    assert wrong == []
    assert set(ways) == {Way.ALL, Way.ONE}
    assert set(moved) == {"edgemm-http-0", "edgemm-http-1"}


def test_idle_connections_go_where_all_others_are(registry: ModelRegistry, ways: list[Way]) -> None:
    with ModelServer(registry, limits=ServingLimits(loops=2)) as server:
        connections = [http.client.HTTPConnection(server.host, server.port, timeout=60) for _ in range(20)]
        for _ in range(10):
            for connection in connections:  # each is idle for most of the time, in a loop that changes
                connection.request("GET", "/healthz")
                assert connection.getresponse().read()
        assert sum(map(len, server._loops)) == len(connections)
        for connection in connections:
            connection.close()
    assert len(ways) > 1


def test_a_server_of_one_loop_moves_nothing(registry: ModelRegistry, ways: list[Way]) -> None:
    wrong: list[object] = []
    with ModelServer(registry, limits=ServingLimits(loops=1)) as server:
        _ask(server, 0, wrong)
    assert (wrong, ways) == ([], [])
