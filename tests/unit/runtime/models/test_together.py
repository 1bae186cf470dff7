"""Requests that wait for the same model are answered by one inference, each with its own answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from edgemm_runtime.engines.signature_model import SignatureModel
from edgemm_runtime.engines.timed import TimedSession
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.tensors.named_arrays import Arrays
from simulators.models import FEATURES, INPUT
from simulators.waiting import eventually

LIMITS = ServingLimits(loops=1, threads=2, quick_s=10.0)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each batch had that was answered."""
    found, run_together = [], SignatureModel.run_together

    def noting(model: SignatureModel, requests: Sequence[Arrays]) -> list[dict[str, np.ndarray]] | None:
        answers = run_together(model, requests)
        if answers is not None:
            found.append(len(requests))
        return answers

    monkeypatch.setattr(SignatureModel, "run_together", noting)
    return found


@contextmanager
def busy(server: ModelServer) -> Iterator[None]:
    """Have the server's loop do something else meanwhile."""
    reached, leave = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert leave.wait(30)

    server._loops[0].call(wait)
    assert reached.wait(30)
    try:
        yield
    finally:
        leave.set()


def body(row: Sequence[float], path: str) -> bytes:
    if path.startswith("/predict"):
        return json.dumps([list(row)]).encode()
    tensor = {"name": INPUT, "shape": [1, len(row)], "datatype": "FP32", "data": list(row)}
    return json.dumps({"inputs": [tensor]}).encode()


def ask_at_once(
    server: ModelServer, rows: Sequence[Sequence[float]], *, path: str, methods: Sequence[str] = ()
) -> list[tuple[int, object]]:
    """Send requests over connections of their own while the loop is busy; return statuses and answers."""
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((server.host, server.port))) for _ in rows]
        for connection in connections:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        with busy(server):
            for connection, row, method in zip(connections, rows, methods or ["POST"] * len(rows), strict=True):
                data = body(row, path)
                head = (
                    f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
                )
                connection.sendall(head.encode() + data)
        return [read(connection) for connection in connections]


def read(connection: socket.socket) -> tuple[int, object]:
    data = b""
    while more := connection.recv(65536):
        data += more
    head, _, text = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(text)


def random_rows(count: int) -> list[list[float]]:
    rows: list[list[float]] = np.random.default_rng(3).uniform(-1, 1, (count, FEATURES)).astype(np.float32).tolist()
    return rows


@pytest.mark.parametrize("path", ["/v2/models/tiny/infer", "/predict", "/predict/tiny"])
def test_each_gets_its_own_answer_of_one_inference(registry: ModelRegistry, batches: list[int], path: str) -> None:
    rows = random_rows(5)
    with ModelServer(registry, limits=LIMITS) as server:
        alone = [ask_at_once(server, [row], path=path)[0] for row in rows]
        assert batches == []
        [before] = registry.snapshot()
        attempts = 0
        while not batches:  # what is on its way may come after the loop has looked
            assert ask_at_once(server, rows, path=path) == alone
            attempts += 1
        [after] = registry.snapshot()
    assert len({str(answer) for _, answer in alone}) == 5
    assert after.requests - before.requests == 5 * attempts
    assert sum(after.latency_counts) == after.requests


def test_a_bad_request_among_them_is_told_alone(registry: ModelRegistry, batches: list[int]) -> None:
    rows = random_rows(4)
    rows[2] = rows[2][:3]
    with ModelServer(registry, limits=LIMITS) as server:
        found = ask_at_once(server, rows, path="/v2/models/tiny/infer")
        [counters] = registry.snapshot()
    assert [status for status, _ in found] == [200, 200, 400, 200]
    assert counters.requests == 3


def test_another_method_at_the_same_path_is_no_part_of_a_batch(registry: ModelRegistry, batches: list[int]) -> None:
    with ModelServer(registry, limits=LIMITS) as server:
        found = ask_at_once(server, random_rows(4), path="/predict", methods=["POST", "POST", "GET", "POST"])
    assert [status for status, _ in found] == [200, 200, 405, 200]
    assert batches == []


def test_no_batch_is_larger_than_the_limit(registry: ModelRegistry, batches: list[int]) -> None:
    limits = ServingLimits(loops=1, threads=2, quick_s=10.0, max_together=3)
    with ModelServer(registry, limits=limits) as server:
        while 3 not in batches:
            found = ask_at_once(server, random_rows(9), path="/predict")
            assert [status for status, _ in found] == [200] * 9
    assert max(batches) == 3


def test_requests_that_hang_together_are_told_and_others_are_served(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave, run = threading.Event(), TimedSession.invoke
    hung: list[threading.Thread] = []

    def hang(model: TimedSession, tensors: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
        if rows == 1 or hung:
            return run(model, tensors, rows)
        hung.append(threading.current_thread())
        invoke = model._session.invoke
        monkeypatch.setattr(model._session, "invoke", lambda feeds: (leave.wait(60), invoke(feeds))[1])
        try:
            return run(model, tensors, rows)
        finally:
            monkeypatch.setattr(model._session, "invoke", invoke)

    monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_S", 0.5)
    monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_RATIO", 0)
    with ModelServer(registry, limits=LIMITS) as server:
        assert ask_at_once(server, random_rows(1), path="/predict")[0][0] == 200
        monkeypatch.setattr(TimedSession, "invoke", hang)
        while not hung:
            found = ask_at_once(server, random_rows(4), path="/predict")
        assert sorted({status for status, _ in found}) in ([504], [200, 504])
        assert [status for status, _ in found].count(504) >= 2
        leave.set()
        hung[0].join(30)
        assert not hung[0].is_alive()
        eventually(
            lambda: [s for s, _ in ask_at_once(server, random_rows(3), path="/predict")] == [200] * 3, "it serves"
        )
