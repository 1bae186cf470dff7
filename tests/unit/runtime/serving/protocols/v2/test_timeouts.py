"""The parameter `timeout` of a request: what waits for longer is told so, and not computed."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgemm_runtime.engines.litert import LiteRtSession
from edgemm_runtime.http.deadlines import Deadlines
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators.device_client import DeviceClient
from simulators.waiting import eventually

SHORT_US, LONG_US = 50_000, 50_000_000
ROW = [[0.5, -0.5, 0.25, 1.0]]
SLOW_ROW = [[9.0, 9.0, 9.0, 9.0]]


class Slow:
    """A model that computes `SLOW_ROW` only once `leave` is set; all others at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.leave, self.computed = threading.Event(), threading.Event(), 0
        invoke, slow = LiteRtSession.invoke, self

        def wait(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
            if next(iter(feeds.values())).max() >= 9:
                slow.entered.set()
                assert slow.leave.wait(60)
            slow.computed += 1
            return invoke(session, feeds)

        monkeypatch.setattr(LiteRtSession, "invoke", wait)
        monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_S", 60)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow(monkeypatch)
    yield slow
    slow.leave.set()


@pytest.fixture
def server(registry: ModelRegistry, slow: Slow) -> Iterator[ModelServer]:
    """A server whose one thread for slow requests takes them all."""
    with ModelServer(registry, limits=ServingLimits(loops=1, threads=1, quick_s=0.0, drain_s=20)) as server:
        yield server
        slow.leave.set()


def infer(
    server: ModelServer, row: list[list[float]], *, timeout: Any = None, compressed: bool = False
) -> tuple[int, dict[str, Any]]:
    message: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}]}
    if timeout is not None:
        message["parameters"] = {"timeout": timeout}
    body = json.dumps(message).encode()
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("POST", "/v2/models/tiny/infer", gzip.compress(body) if compressed else body, headers)
    reply = connection.getresponse()
    found = json.load(reply)
    connection.close()
    return reply.status, found


class Asking:
    """A request for `SLOW_ROW` under way in a thread of its own."""

    def __init__(self, server: ModelServer, timeout: int | None = None) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self._thread = threading.Thread(target=lambda: self.answers.append(infer(server, SLOW_ROW, timeout=timeout)))
        self._thread.start()

    def status(self) -> int:
        self._thread.join(60)
        [(status, _)] = self.answers
        return status


def test_what_waits_for_longer_than_its_timeout_is_told_so_and_never_computed(server: ModelServer, slow: Slow) -> None:
    first = Asking(server)
    assert slow.entered.wait(60)
    status, found = infer(server, ROW, timeout=SHORT_US)
    assert (status, "timeout" in found["error"]) == (504, True)
    assert not first.answers, "it came while the first was still computed"
    slow.leave.set()
    assert first.status() == 200
    assert infer(server, ROW)[0] == 200
    assert slow.computed == 2, "the first and the last; the one that was told that it is late was not computed"


def test_what_is_computed_for_longer_is_told_so_and_the_next_request_gets_its_own_answer(
    server: ModelServer, slow: Slow
) -> None:
    with triton.InferenceServerClient(f"{server.host}:{server.port}", concurrency=1) as client:
        value = triton.InferInput("x", [1, 4], "FP32")
        value.set_data_from_numpy(np.array(SLOW_ROW, np.float32))
        with pytest.raises(InferenceServerException, match="timeout") as late:
            client.infer("tiny", [value], timeout=SHORT_US)
        assert late.value.status() == "504"
        slow.leave.set()
        assert client.infer("tiny", [value], timeout=LONG_US).as_numpy("scores").shape == (1, 3)


def test_a_compressed_request_is_told_when_its_turn_comes(server: ModelServer, slow: Slow) -> None:
    first = Asking(server)
    assert slow.entered.wait(60)
    answers: list[int] = []
    second = threading.Thread(target=lambda: answers.append(infer(server, ROW, timeout=1, compressed=True)[0]))
    second.start()
    eventually(lambda: server._workers.waiting == 1, "the second request waits")
    slow.leave.set()
    second.join(60)
    assert (first.status(), answers, slow.computed) == (200, [504], 1)


@pytest.mark.parametrize("timeout", [None, 0, LONG_US, 2**64 - 1])
def test_in_time_and_without_a_timeout_requests_are_answered(server: ModelServer, timeout: int | None) -> None:
    assert infer(server, ROW, timeout=timeout)[0] == 200
    assert infer(server, ROW, timeout=timeout, compressed=True)[0] == 200


@pytest.mark.parametrize("timeout", [-1, 1.5, "1", True, [1], {}, 2**64])
def test_what_is_no_number_of_microseconds_is_refused(client: DeviceClient, timeout: Any) -> None:
    message = {
        "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}],
        "parameters": {"timeout": timeout},
    }
    reply = client.post("/v2/models/tiny/infer", json=message)
    assert (reply.status_code, "microseconds" in reply.json["error"]) == (400, True)


def test_the_servers_own_limit_holds_for_a_longer_timeout(registry: ModelRegistry, slow: Slow) -> None:
    limits = ServingLimits(loops=1, threads=1, quick_s=0.0, request_s=0.05, drain_s=20)
    with ModelServer(registry, limits=limits) as server:
        assert infer(server, SLOW_ROW, timeout=LONG_US)[0] == 504
        slow.leave.set()


def test_deadlines_come_in_order_and_their_thread_ends_with_the_last() -> None:
    called: list[object] = []
    deadlines, all_added, done = Deadlines(), threading.Event(), threading.Event()
    deadlines.add(0.0, lambda: called.append(all_added.wait(60)))
    deadlines.add(3.0, done.set)
    deadlines.add(2.0, lambda: called.append("second"))
    deadlines.add(1.0, lambda: called.append("first"))
    key = deadlines.add(time.monotonic() + 1000, lambda: called.append("never"))
    all_added.set()
    assert done.wait(60)
    deadlines.remove(key)
    eventually(lambda: not deadlines._running, "the thread ends")
    assert called == [True, "first", "second"]
