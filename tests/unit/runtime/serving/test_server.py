"""The server around the application: its port, its threads, its end."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_runtime.engines.litert import LiteRtSession
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators.device_client import LocalConnection
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from simulators.waiting import eventually

ROW = [[0.5, -0.5, 0.25, 1.0]]


def post(server: ModelServer, *, connection: http.client.HTTPConnection | None = None) -> tuple[int, dict[str, Any]]:
    mine = connection or http.client.HTTPConnection(server.host, server.port)
    mine.request("POST", "/predict", body=json.dumps(ROW))
    reply = mine.getresponse()
    answer = json.load(reply)
    if connection is None:
        mine.close()
    return reply.status, answer


def test_a_taken_port_is_named_with_the_next_step() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=rf"port {port} on 127.0.0.1 is taken .* --port"):
            ModelServer(ModelRegistry(), port=port)


def test_an_address_that_is_not_of_this_machine_is_refused() -> None:
    with pytest.raises(EnvironmentFailure, match=r"192.0.2.1 port \d+: [\w ]+: give an address .* --listen"):
        ModelServer(ModelRegistry(), host="192.0.2.1")


def test_stop_frees_the_port_and_may_be_called_twice(registry: ModelRegistry) -> None:
    server = ModelServer(registry)
    connection = http.client.HTTPConnection(server.host, server.port)
    assert post(server, connection=connection)[0] == 200
    server.stop()
    server.stop()
    connection.close()
    with ModelServer(registry, port=server.port) as again:
        assert post(again)[0] == 200


def test_stop_lets_a_request_in_flight_end(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave, answers = threading.Event(), threading.Event(), []
    invoke = LiteRtSession.invoke

    def slow(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
        entered.set()
        assert leave.wait(60)
        return invoke(session, feeds)

    monkeypatch.setattr(LiteRtSession, "invoke", slow)
    server = ModelServer(registry, limits=ServingLimits(drain_s=20))
    asking = threading.Thread(target=lambda: answers.append(post(server)))
    asking.start()
    assert entered.wait(60)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert server._stopping.wait(60)
    leave.set()
    stopping.join(60)
    asking.join(60)
    [(status, answer)] = answers
    assert status == 200
    assert np.allclose(answer["outputs"]["scores"], Dense.random(0).predict(np.array(ROW, np.float32)), atol=1e-5)


def test_stop_answers_what_was_sent_before_its_clients_could_know(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entered, leave = threading.Event(), threading.Event()
    invoke = LiteRtSession.invoke

    def slow(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
        entered.set()
        assert leave.wait(60)
        return invoke(session, feeds)

    path = tmp_path / "device.sock"
    server = ModelServer(registry, limits=ServingLimits(drain_s=60, loops=1), access=Access(unix_socket=path))
    kept, first = (http.client.HTTPConnection(server.host, server.port, timeout=60) for _ in range(2))
    assert post(server, connection=kept)[0] == 200
    monkeypatch.setattr(LiteRtSession, "invoke", slow)
    first.request("POST", "/predict", body=json.dumps(ROW))
    assert entered.wait(60)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    eventually(lambda: len(server._loops[0]._calls) > 0, "the loop is told to end while it computes")
    new, local = http.client.HTTPConnection(server.host, server.port, timeout=60), LocalConnection(path)
    asking = (kept, new, local)
    for connection in asking:
        connection.request("POST", "/predict", body=json.dumps(ROW))
    leave.set()
    replies = [connection.getresponse() for connection in (first, *asking)]
    assert [(reply.status, reply.getheader("Connection")) for reply in replies] == [(200, "close")] * 4
    stopping.join(60)
    for connection in (first, *asking):
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    assert not path.exists()


def test_swaps_under_http_load_fail_no_request(tmp_path: Path) -> None:
    registry, failed, done = ModelRegistry(), [], threading.Event()
    paths = [tmp_path / "1.edgemm", tmp_path / "2.edgemm"]
    for number, path in enumerate(paths):
        make_bundle(path, version=f"{number}.0.0", seed=number)
    expected = {f"{n}.0.0": Dense.random(n).predict(np.array(ROW, np.float32)) for n in (0, 1)}
    activate(registry, paths[0])

    def ask(server: ModelServer) -> None:
        connection = http.client.HTTPConnection(server.host, server.port)
        while not done.is_set():
            status, answer = post(server, connection=connection)
            good = status == 200 and np.allclose(
                answer["outputs"]["scores"], expected[str(answer["version"])], atol=1e-5
            )
            if not good:
                failed.append(answer)
        connection.close()

    with ModelServer(registry) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        swaps = 0
        while swaps < 20 or sum(s.requests for s in registry.snapshot()) < 200:
            swaps += 1
            activate(registry, paths[swaps % 2])
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []


@pytest.mark.slow
def test_a_large_body_is_never_put_into_a_file(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    rows = 200_000
    body = json.dumps([[0.5, 0.5, 0.5, 0.5]] * rows).encode()
    with ModelServer(registry) as server:
        connection = http.client.HTTPConnection(server.host, server.port)
        connection.request("POST", "/predict", body=body)
        reply = connection.getresponse()
        assert reply.status == 200
        assert len(json.load(reply)["outputs"]["scores"]) == rows
        connection.close()


def test_the_address_of_ipv6_has_brackets(registry: ModelRegistry) -> None:
    with ModelServer(registry, host="::1") as server:
        assert server.address == f"http://[::1]:{server.port}"
        assert post(server)[0] == 200
