"""An inference that hangs costs its own client an answer and nobody else anything."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest

from edgemm.errors import EngineError
from edgemm_runtime.engines.litert import LiteRtSession
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.hangs import _turned_s
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators.waiting import eventually

ROW = [[0.5, -0.5, 0.25, 1.0]]
HANG_ROW = [[9.0, 9.0, 9.0, 9.0]]
ONE = ServingLimits(loops=1, threads=1)
_MUCH = bytes(4 * 2**20)


class Hanging:
    """Inferences on `HANG_ROW` hang until `leave` is set, and then fail no assertion."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leave = threading.Event()
        self.threads: list[threading.Thread] = []
        invoke, member = LiteRtSession.invoke, self

        def hang(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
            if next(iter(feeds.values())).max() < 9:
                return invoke(session, feeds)
            # As deep in the session as the engine is: the interpreter is taken.
            taken = session._pool.take()
            member.threads.append(threading.current_thread())
            assert member.leave.wait(60)
            session._pool.give(taken)
            return invoke(session, feeds)

        monkeypatch.setattr(LiteRtSession, "invoke", hang)
        monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_S", 0.05)
        monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_RATIO", 0)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    hanging = Hanging(monkeypatch)
    yield hanging
    hanging.leave.set()
    for thread in hanging.threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread that was left behind ends once it comes back"


@contextmanager
def client(server: ModelServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    yield connection
    connection.close()


def ask(connection: http.client.HTTPConnection, row: list[list[float]]) -> tuple[int, dict[str, object]]:
    connection.request("POST", "/predict", body=json.dumps(row))
    reply = connection.getresponse()
    return reply.status, json.load(reply)


@pytest.mark.parametrize("where", ["in the loop", "in a thread"])
def test_the_client_is_told_and_everybody_else_is_served(registry: ModelRegistry, hanging: Hanging, where: str) -> None:
    quick_s = 10.0 if where == "in the loop" else 0.0
    limits = ServingLimits(loops=1, threads=1, quick_s=quick_s)
    with ModelServer(registry, limits=limits) as server, client(server) as mine, client(server) as other:
        assert ask(mine, ROW)[0] == ask(other, ROW)[0] == 200
        status, answer = ask(mine, HANG_ROW)
        assert status == 504
        assert "not answer" in str(answer["error"])
        assert [ask(other, ROW)[0] for _ in range(3)] == [200, 200, 200]
        [counters] = registry.snapshot()
        assert (counters.hangs, counters.errors) == (1, 1)
        assert server.healthy
        hanging.leave.set()
        eventually(lambda: not hanging.threads[0].is_alive(), "the thread ended itself")
        assert ask(other, ROW)[0] == 200


class Computing(Hanging):
    """Inferences on `HANG_ROW` compute until `leave` is set; with `always`, all others do so too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.always = threading.Event()
        invoke, member = LiteRtSession.invoke, self

        def compute(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
            if next(iter(feeds.values())).max() >= 9 or self.always.is_set():
                member.threads.append(threading.current_thread())
                taken = session._pool.take()
                while not member.leave.is_set():
                    sha256(_MUCH)  # as an engine does, it computes without the interpreter's lock
                session._pool.give(taken)
                feeds = {name: array * 0 for name, array in feeds.items()}
            return invoke(session, feeds)

        monkeypatch.setattr(LiteRtSession, "invoke", compute)


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Computing]:
    computing = Computing(monkeypatch)
    yield computing
    computing.leave.set()
    for thread in computing.threads:
        thread.join(60)


def test_values_that_take_long_to_compute_are_no_hang_of_the_model(
    registry: ModelRegistry, computing: Computing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_runtime.serving.server._MOST_HANGS", 0)
    with ModelServer(registry, limits=ONE) as server, client(server) as mine:
        assert ask(mine, HANG_ROW)[0] == 504
        assert ask(mine, ROW)[0] == 200
        eventually(lambda: not inquiries(), "the model was asked")
        [counters] = registry.snapshot()
        assert (counters.hangs, counters.errors) == (0, 0)
        assert server.healthy


def test_a_model_that_computes_for_ever_whatever_it_is_asked_hangs(
    registry: ModelRegistry, computing: Computing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_runtime.models.hangs._ANSWER_S", 0.2)
    with ModelServer(registry, limits=ONE) as server, client(server) as mine:
        assert ask(mine, ROW)[0] == 200
        computing.always.set()
        assert ask(mine, ROW)[0] == 504
        eventually(lambda: server._hangs.hangs == 2, "the thread of the request, and the one that asked again")
        assert registry.snapshot()[0].hangs == 1


def test_requests_that_wait_for_others_do_not_hang(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The members of a pool are taken for long: what waits for one is in no engine."""
    session = registry.get("tiny").model.loaded._session  # type: ignore[attr-defined]
    session.narrow()
    with (
        ModelServer(registry, limits=ServingLimits(loops=1, threads=1, quick_s=10.0)) as server,
        client(server) as mine,
    ):
        assert ask(mine, ROW)[0] == 200
        taken = [session._pool.take() for _ in range(session._pool._size)]
        mine.request("POST", "/predict", body=json.dumps(ROW))
        eventually(lambda: session._pool._waiting == 1, "it waits, and not in the loop")
        with client(server) as other:
            other.request("GET", "/healthz")
            assert other.getresponse().status == 200, "though the one thread is taken"
        try:
            with monkeypatch.context() as patched:  # an inference takes that long where there is little CPU
                patched.setattr("edgemm_runtime.engines.timed._HANG_S", 0.05)
                patched.setattr("edgemm_runtime.engines.timed._HANG_RATIO", 0)
                begun_s = server._hangs._turned_s
                eventually(lambda: server._hangs._turned_s > begun_s + 0.3, "it was looked at")
        finally:
            for member in taken:
                session._pool.give(member)
        answer = mine.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")
    assert registry.snapshot()[0].hangs == 0


def test_a_late_look_tells_that_the_process_stood_still() -> None:
    assert _turned_s(0.1, 0.1, 0.0) == 0.1
    assert _turned_s(0.05, 0.1, 0.0) == 0.05
    assert round(_turned_s(0.13, 0.1, 0.0), 6) == 0.07
    assert _turned_s(0.5, 0.1, 0.0) == _turned_s(3600.0, 0.1, 0.0) == 0.0
    assert _turned_s(0.5, 0.1, 0.4) == 0.5, "it was the watch itself that had no CPU"


def inquiries() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "edgemm-inquiry"]


def test_each_thread_that_hangs_is_replaced(registry: ModelRegistry, hanging: Hanging) -> None:
    with ModelServer(registry, limits=ServingLimits(loops=1, threads=1, quick_s=10.0)) as server:
        for _ in range(3):
            with client(server) as mine:
                assert ask(mine, ROW)[0] == 200
                assert ask(mine, HANG_ROW)[0] == 504
        with client(server) as mine:
            assert ask(mine, ROW)[0] == 200
        [counters] = registry.snapshot()
        assert counters.hangs == 3


def test_stop_does_not_wait_for_what_hangs(registry: ModelRegistry, hanging: Hanging) -> None:
    server = ModelServer(registry, limits=ServingLimits(loops=1, quick_s=10.0, drain_s=0.5))
    with client(server) as mine:
        assert ask(mine, ROW)[0] == 200
        assert ask(mine, HANG_ROW)[0] == 504
        server.stop()
    assert hanging.threads[0].is_alive()


@pytest.mark.parametrize("quick_s", [0.0, 10.0])
def test_an_engine_that_ends_when_it_is_given_up_does_not_answer_in_its_own_words(
    registry: ModelRegistry, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, quick_s: float
) -> None:
    answered, hang = threading.Event(), LiteRtSession.invoke

    def failing(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
        found = hang(session, feeds)
        if next(iter(feeds.values())).max() < 9:
            return found
        raise EngineError("it was told to end")

    def end(_session: LiteRtSession, _thread: int) -> None:
        hanging.leave.set()
        answered.wait(60)

    monkeypatch.setattr(LiteRtSession, "invoke", failing)
    monkeypatch.setattr(LiteRtSession, "give_up", end)
    with ModelServer(registry, limits=ServingLimits(loops=1, threads=1, quick_s=quick_s)) as server:
        with client(server) as mine:
            assert ask(mine, ROW)[0] == 200
            status, answer = ask(mine, HANG_ROW)
            answered.set()
        assert (status, answer["error"]) == (504, "the model did not answer in time: it was given up")


def test_many_threads_left_behind_ask_for_a_restart(
    registry: ModelRegistry, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_runtime.serving.server._MOST_HANGS", 1)
    with ModelServer(registry, limits=ServingLimits(loops=1, quick_s=10.0)) as server:
        for healthy in (True, False):
            with client(server) as mine:
                assert ask(mine, ROW)[0] == 200
                assert ask(mine, HANG_ROW)[0] == 504
            assert server.healthy is healthy
