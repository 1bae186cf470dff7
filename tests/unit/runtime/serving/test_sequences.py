"""Stateful models over the real server: each sequence has an interpreter of its own, whatever others do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgemm.bundle import open_bundle
from edgemm.errors import InputError
from edgemm_runtime.agent.update.host import RegistryHost
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.engines.interpreter import Interpreter
from edgemm_runtime.engines.litert import LiteRtSession
from edgemm_runtime.models.hangs import HangWatch
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.service.pulse import Pulse
from edgemm_runtime.service.watchdog import Sign
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.shadow.shadow import ShadowCandidate
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators import stateful
from simulators.device_client import DeviceAnswer, DeviceClient
from simulators.serving import activate
from simulators.stateful import VARIANT
from simulators.tflite import Floats
from simulators.waiting import eventually

STEPS = 141
LIMITS = SequenceLimits(max_running=3, idle_s=30.0)
DOOR = {"X-Sequence-Id": "door"}
BEGIN = {**DOOR, "X-Sequence-Start": "true"}


class World:
    """A device with the stateful model `wake`, at a time that tests set."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "wake-1.0.0.edgemm"
        stateful.make_bundle(self.path)
        self.now_s = 0.0
        self.registry = ModelRegistry(sequences=LIMITS, now_s=lambda: self.now_s)
        activate(self.registry, self.path)

    def look(self) -> None:
        """Let the watch look at all models once."""
        watch = HangWatch(self.registry, lambda _thread: None, look_s=60)
        watch.look(0.0)
        watch.stop()

    @property
    def running(self) -> int:
        found = self.registry.get("wake").sequences
        assert found is not None
        return found.running


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def server(world: World) -> Iterator[ModelServer]:
    with ModelServer(world.registry) as server:
        yield server


@pytest.fixture
def client(server: ModelServer) -> Iterator[DeviceClient]:
    with DeviceClient(server.address) as client:
        yield client


def lone(x: Floats) -> Floats:
    """Answer a sequence by an interpreter that nobody else has."""
    interpreter = Interpreter(model_content=stateful.with_resource_variable(), num_threads=1)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for step in x:
        interpreter.set_tensor(into, step)
        interpreter.invoke()
        found.append(interpreter.get_tensor(out))
    return np.stack(found)


class Triton:
    """Triton's own client with one sequence."""

    def __init__(self, server: ModelServer, sequence: int | str) -> None:
        self._client = triton.InferenceServerClient(server.address.removeprefix("http://"))
        self._sequence = sequence

    def ask(self, x: Floats, *, start: bool = False, end: bool = False, binary: bool = True) -> Floats:
        given = triton.InferInput("x", list(x.shape), "FP32").set_data_from_numpy(x, binary_data=binary)
        answer = self._client.infer("wake", [given], sequence_id=self._sequence, sequence_start=start, sequence_end=end)
        return np.asarray(answer.as_numpy("score"))

    def ask_all(self, x: Floats, *, binary: bool = True) -> Floats:
        last = len(x) - 1
        return np.stack([self.ask(s, start=i == 0, end=i == last, binary=binary) for i, s in enumerate(x)])


def ask(client: DeviceClient, x: Floats, headers: dict[str, str], path: str = "/predict/wake") -> DeviceAnswer:
    return client.post(path, json={"inputs": x.tolist()}, headers=headers)


def score(answer: DeviceAnswer) -> Floats:
    assert answer.status_code == 200, answer.text
    return np.array(answer.json["outputs"]["score"], np.float32)


def test_clients_at_once_are_answered_as_a_lone_interpreter_does(server: ModelServer, world: World) -> None:
    inputs = [stateful.steps(STEPS, seed=seed) for seed in range(3)]
    clients = [Triton(server, sequence) for sequence in (1, "door", "1")]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda c, x, binary: c.ask_all(x, binary=binary), clients, inputs, (True, True, False)))
    for x, y in zip(inputs, found, strict=True):
        assert (y == lone(x)).all()
    assert world.running == 0


def test_a_client_that_vanishes_in_between_costs_others_nothing_and_can_begin_anew(
    server: ModelServer, client: DeviceClient
) -> None:
    x = stateful.steps(8)
    other = Triton(server, "other")
    found = [other.ask(x[0], start=True)]
    score(ask(client, x[5], BEGIN))
    body = b'{"inputs": [[1, 0, 0, 0]]}'
    with socket.create_connection((server.host, server.port)) as cut:  # its answer is for nobody
        cut.sendall(
            b"POST /predict/wake HTTP/1.1\r\nHost: d\r\nX-Sequence-Id: door\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
    found += [other.ask(step) for step in x[1:]]
    assert (np.stack(found) == lone(x)).all()
    again = [score(ask(client, step, BEGIN if i == 0 else DOOR)) for i, step in enumerate(x)]
    assert (np.stack(again) == lone(x)).all()


def test_a_server_that_was_killed_in_between_says_to_begin_anew(world: World, server: ModelServer) -> None:
    x = stateful.steps(4)
    before = Triton(server, 5)
    before.ask(x[0], start=True)
    server.stop()
    registry = ModelRegistry(sequences=LIMITS)
    activate(registry, world.path)
    with ModelServer(registry) as again:
        client = Triton(again, 5)
        with pytest.raises(InferenceServerException, match="begin it anew with sequence_start"):
            client.ask(x[1])
        assert (client.ask_all(x) == lone(x)).all()


def test_requests_of_one_sequence_are_computed_one_at_a_time(server: ModelServer) -> None:
    x = np.ones((1, 4), np.float32)
    first = Triton(server, 1).ask(x, start=True)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: Triton(server, 1).ask(x), range(40)))
    expected = lone(np.stack([x] * 41))
    assert (first == expected[0]).all()
    assert sorted(y.tobytes() for y in found) == sorted(y.tobytes() for y in expected[1:])


@pytest.mark.parametrize(
    ("path", "key", "answered"),
    [
        ("/predict", "inputs", lambda json: json["outputs"]["score"]),
        ("/v1/models/wake:predict", "instances", lambda json: json["predictions"]),
        ("/v1/models/wake/versions/1000000:predict", "inputs", lambda json: json["outputs"]),
    ],
)
def test_headers_say_the_sequence_in_the_other_protocols(
    client: DeviceClient, path: str, key: str, answered: object
) -> None:
    x = stateful.steps(5)
    found = []
    for index, step in enumerate(x):
        headers = {**DOOR, "X-Sequence-Start": str(index == 0), "X-Sequence-End": str(index == 4).lower()}
        answer = client.post(path, json={key: step.tolist()}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert callable(answered)
        found.append(np.array(answered(answer.json), np.float32))
    assert (np.stack(found) == lone(x)).all()
    assert client.post(path, json={key: x[0].tolist()}, headers=DOOR).status_code == 400


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "expected the id of a sequence, by sequence_id in the request's parameters or the header X-Sequence-Id"),
        ({"X-Sequence-Start": "true"}, "expected the id of a sequence"),
        (DOOR, "no sequence 'door' of model 'wake' runs: it was not begun"),
        ({**BEGIN, "X-Sequence-End": "yes"}, "header X-Sequence-End: expected true or false, found 'yes'"),
        ({**BEGIN, "X-Sequence-Id": "a" * 129}, "a text of at most 128 characters"),
    ],
)
def test_requests_without_a_right_sequence_are_told_what_is_missing(
    client: DeviceClient, world: World, headers: dict[str, str], message: str
) -> None:
    answer = ask(client, stateful.steps(1)[0], headers)
    assert answer.status_code == 400
    assert message in answer.json["error"]
    assert world.running == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "expected the id of a sequence"),
        ({"sequence_id": 0, "sequence_start": True}, "expected the id of a sequence"),
        ({"sequence_id": "", "sequence_start": True}, "expected the id of a sequence"),
        ({"sequence_id": 7}, "no sequence 7 of model 'wake' runs"),
        ({"sequence_id": -1, "sequence_start": True}, "expected an integer from 1 to 2^64"),
        ({"sequence_id": True, "sequence_start": True}, "expected an integer from 1 to 2^64"),
        ({"sequence_id": 1.5, "sequence_start": True}, "expected an integer from 1 to 2^64"),
        ({"sequence_id": 7, "sequence_start": 1}, "parameter 'sequence_start': expected true or false, found 1"),
        ({"sequence_id": 7, "sequence_end": "true"}, "parameter 'sequence_end': expected true or false"),
    ],
)
def test_parameters_that_name_no_sequence(client: DeviceClient, parameters: dict[str, object], message: str) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}
    answer = client.post("/v2/models/wake/infer", json={"parameters": parameters, "inputs": [given]})
    assert answer.status_code == 400
    assert message in answer.json["error"]


def test_a_model_without_state_looks_at_no_sequence(registry: ModelRegistry, world: World) -> None:
    del world
    with ModelServer(registry) as server, DeviceClient(server.address) as client:
        for headers in (DOOR, {"X-Sequence-Start": "what"}):
            assert client.post("/predict", json=[[0, 0, 0, 0]], headers=headers).status_code == 200
        given = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}
        body = {"parameters": {"sequence_id": -1}, "inputs": [given]}
        assert client.post("/v2/models/tiny/infer", json=body).status_code == 200


def test_as_many_as_may_run_and_one_more_is_told_to_come_later(client: DeviceClient, world: World) -> None:
    x = stateful.steps(1)[0]
    for name in "abc":
        score(ask(client, x, {"X-Sequence-Id": name, "X-Sequence-Start": "true"}))
    refused = ask(client, x, BEGIN)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "3 sequences of model 'wake' run, as many as may" in refused.json["error"]
    score(ask(client, x, {"X-Sequence-Id": "a", "X-Sequence-End": "true"}))
    score(ask(client, x, BEGIN))
    assert world.running == 3
    assert world.registry.snapshot()[0].errors == 0, "it is no fault of the model"


def test_what_is_idle_is_forgotten_by_the_clock(client: DeviceClient, world: World) -> None:
    x = stateful.steps(3)
    score(ask(client, x[0], BEGIN))
    world.now_s = 29.0
    assert (score(ask(client, x[1], DOOR)) == lone(x)[1]).all()
    world.now_s = 58.0
    world.look()
    assert world.running == 1
    world.now_s = 59.0
    world.look()
    assert world.running == 0, "its memory is free although nobody asks"
    answer = ask(client, x[2], DOOR)
    assert answer.status_code == 400
    assert "was idle for 30 s" in answer.json["error"]


def test_metrics_count_sequences(client: DeviceClient, world: World) -> None:
    x = stateful.steps(1)[0]
    score(ask(client, x, BEGIN))
    world.now_s = 30.0
    score(ask(client, x, {**BEGIN, "X-Sequence-Id": "other"}))
    text, labels = client.get("/metrics").text, f'{{model="wake",variant="{VARIANT}",version="1.0.0"}}'
    assert f"edgemm_sequences_running{labels} 1.0" in text
    assert f"edgemm_sequences_begun_total{labels} 2.0" in text
    assert f"edgemm_sequences_idle_total{labels} 1.0" in text


def test_triton_s_clients_are_told_that_the_model_wants_sequences(client: DeviceClient) -> None:
    assert client.get("/v2/models/wake/config").json["sequence_batching"] == {
        "direct": {},
        "max_sequence_idle_microseconds": 30_000_000,
    }
    assert "sequence" in client.get("/v2").json["extensions"]


def test_a_version_change_ends_sequences_and_says_so(client: DeviceClient, world: World, tmp_path: Path) -> None:
    x = stateful.steps(3)
    score(ask(client, x[0], BEGIN))
    before = world.registry.get("wake")
    stateful.make_bundle(tmp_path / "next.edgemm", version="1.1.0", seed=5)
    activate(world.registry, tmp_path / "next.edgemm")
    answer = ask(client, x[1], DOOR)
    assert answer.status_code == 400
    assert "or the model was changed: begin it anew" in answer.json["error"]
    found = [score(ask(client, step, BEGIN if i == 0 else DOOR)) for i, step in enumerate(x)]
    assert np.allclose(np.stack(found), stateful.predict(x, seed=5), atol=1e-5)
    assert before.sequences is not None
    assert before.sequences.running == 0


def test_self_tests_touch_no_sequence(client: DeviceClient, world: World) -> None:
    x, found = stateful.steps(4), []
    with open_bundle(world.path) as source:
        pulse = Pulse(world.registry, lambda _key: source)
        for index, step in enumerate(x):
            found.append(score(ask(client, step, BEGIN if index == 0 else DOOR)))
            RegistryHost(world.registry).check("wake", source, answered=lambda: None)
            assert pulse.take(timeout_s=30) == {"wake 1.0.0": Sign.ANSWERED}
    assert (np.stack(found) == lone(x)).all()


def test_no_shadow_beside_a_stateful_model(world: World) -> None:
    with open_bundle(world.path) as source:
        candidate = ShadowCandidate(
            manifest=source.manifest, digest=source.digest, location=BundleFile(world.path), variant_id=VARIANT, share=1
        )
    with pytest.raises(InputError, match="cannot run as a shadow: the active model is stateful"):
        world.registry.add_shadow(candidate)


def test_inputs_that_are_wrong_change_no_state(client: DeviceClient) -> None:
    x = stateful.steps(2)
    score(ask(client, x[0], BEGIN))
    assert ask(client, np.ones((1, 5), np.float32), DOOR).status_code == 400
    assert ask(client, np.ones((2, 4), np.float32), DOOR).status_code == 400
    assert (score(ask(client, x[1], DOOR)) == lone(x)[1]).all()


def test_batches_of_any_size_are_no_reason_to_join_requests_and_a_sequence_keeps_its_own(tmp_path: Path) -> None:
    stateful.make_bundle(tmp_path / "any.edgemm", batch=-1)
    registry = ModelRegistry()
    served = activate(registry, tmp_path / "any.edgemm")
    assert not served.together
    x = stateful.steps(3)
    with ModelServer(registry) as server, DeviceClient(server.address) as client:
        found = [score(ask(client, step, BEGIN if index == 0 else DOOR)) for index, step in enumerate(x[:2])]
        refused = ask(client, np.ones((2, 4), np.float32), DOOR)
        assert refused.status_code == 400
        assert "input 'x': expected shape [1, 4], found [2, 4]: in a sequence each request is" in refused.json["error"]
        assert ask(client, np.ones((8, 4), np.float32), {**BEGIN, "X-Sequence-Id": "two"}).status_code == 400
        found.append(score(ask(client, x[2], DOOR)))
    assert np.allclose(np.stack(found), stateful.predict(x), atol=1e-5)


def test_a_sequence_that_began_with_a_wrong_request_takes_no_room(client: DeviceClient, world: World) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [1, 5], "data": [0] * 5}
    body = {"parameters": {"sequence_id": 3, "sequence_start": True}, "inputs": [given]}
    assert client.post("/v2/models/wake/infer", json=body).status_code == 400
    assert world.running == 0


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let an input of nines hang until the end; tell the threads that do."""
    leave, threads, invoke = threading.Event(), list[int](), LiteRtSession.invoke

    def hang(session: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
        if next(iter(feeds.values())).max() >= 9:
            threads.append(threading.get_ident())
            assert leave.wait(60)
        return invoke(session, feeds)

    monkeypatch.setattr(LiteRtSession, "invoke", hang)
    monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_S", 0.05)
    monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_RATIO", 0)
    try:
        yield threads
    finally:
        leave.set()


def test_a_sequence_that_hangs_ends_and_others_go_on(
    server: ModelServer, client: DeviceClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, nines = stateful.steps(2), np.full((1, 4), 9, np.float32)
    other = {**BEGIN, "X-Sequence-Id": "other"}
    with hanging(monkeypatch) as threads, DeviceClient(server.address) as second, ThreadPoolExecutor(2) as pool:
        score(ask(client, x[0], BEGIN))
        score(ask(client, x[0], other))
        stuck = pool.submit(ask, client, nines, DOOR)
        eventually(lambda: bool(threads), "it hangs")
        waiting = pool.submit(ask, second, x[1], DOOR)
        assert stuck.result().status_code == 504
        assert waiting.result().status_code == 400
        assert "begin it anew" in waiting.result().json["error"]
        assert (score(ask(second, x[1], {"X-Sequence-Id": "other"})) == lone(x)[1]).all()
        assert world.running == 1


def test_no_memory_for_one_more_is_told(world: World, client: DeviceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    score(ask(client, stateful.steps(1)[0], BEGIN))
    found = world.registry.get("wake").sequences
    monkeypatch.setattr(found, "_available_bytes", lambda: 1000)
    answer = ask(client, stateful.steps(1)[0], {**BEGIN, "X-Sequence-Id": "other"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "1,000 are free" in answer.json["error"]
    score(ask(client, stateful.steps(1)[0], DOOR))
