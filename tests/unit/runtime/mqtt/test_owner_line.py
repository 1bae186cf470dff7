"""Predictions over a broker of the device's owner, a real Mosquitto."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemm_runtime.http.exchange import Reply, Request, json_body
from edgemm_runtime.memory.memory_budget import UNBOUNDED, MemoryBudget
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.mqtt.over_mqtt import over_mqtt
from edgemm_runtime.mqtt.owner_broker import MqttLimits, OwnerBroker
from edgemm_runtime.mqtt.owner_line import Ask, OwnerLine
from edgemm_runtime.mqtt.room import Outcome
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.models import Dense, make_bundle
from simulators.mosquitto import MosquittoProcess, free_port, write_open_configuration
from simulators.mqtt import MqttProbe
from simulators.mqtt5_client import Mqtt5Client
from simulators.old_broker import OldBroker
from simulators.serving import activate
from simulators.waiting import eventually

pytestmark = pytest.mark.service
PREFIX = "home/kitchen"
ASK, ANSWER, STATUS = f"{PREFIX}/tiny/predict", f"{PREFIX}/tiny/answer", f"{PREFIX}/status"
ROW = [0.5, -0.5, 0.25, 1.0]
LABELS = ("ant", "bee", "cat")
RIGHT = LABELS[int(Dense.random(0).predict(np.array([ROW], np.float32)).argmax())]
QUICK = MqttLimits(backoff_first_s=0.05, backoff_max_s=0.2)


@pytest.fixture
def port(mosquitto: Path, tmp_path: Path) -> Iterator[int]:
    number = free_port()
    write_open_configuration(tmp_path, port=number)
    with MosquittoProcess(mosquitto, tmp_path, port=number):
        yield number


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    make_bundle(tmp_path / "tiny.edgemm")
    registry = ModelRegistry()
    activate(registry, tmp_path / "tiny.edgemm")
    with ModelServer(registry) as server:
        yield server


def broker(port: int, *, limits: MqttLimits = QUICK, retain: bool = False) -> OwnerBroker:
    return OwnerBroker(host="127.0.0.1", port=port, tls=False, prefix=PREFIX, limits=limits, retain=retain)


@contextmanager
def line(at: OwnerBroker, ask: Ask, memory: MemoryBudget = UNBOUNDED) -> Iterator[OwnerLine]:
    found = OwnerLine(at, ask, memory)
    found.start()
    try:
        assert found.wait_until_connected(30)
        yield found
    finally:
        found.stop()


def body(**more: Any) -> bytes:
    return json.dumps({"inputs": [ROW], **more}).encode()


def test_json_is_answered_at_the_fixed_topic_and_its_label_comes_over_http(port: int, server: ModelServer) -> None:
    with over_mqtt(broker(port), server, fleets=None), MqttProbe(port, client_id="home") as home:
        home.subscribe(f"{PREFIX}/#")
        eventually(lambda: (STATUS, b"online") in [one[:2] for one in home.messages], "the device is online")
        home.publish(ASK, body(id="door-1"))
        eventually(lambda: any(topic == ANSWER for topic, _, _ in home.messages), "an answer")
        answer = next(json.loads(payload) for topic, payload, _ in home.messages if topic == ANSWER)
        assert list(answer)[:3] == ["id", "model", "version"]
        assert answer["id"] == "door-1"
        assert answer["top"][0]["label"] == RIGHT
        with DeviceClient(server.address) as client:
            assert client.post("/v2/feedback", json={"id": "door-1", "label": RIGHT}).json["agreed"] is True
            home.publish(ASK, body(id=7))
            eventually(lambda: any(b'{"id":7,' in payload for _, payload, _ in home.messages), "an answer by a number")
            labelled = client.post("/v2/feedback", json={"id": 7, "label": RIGHT}).json
            assert (labelled["id"], labelled["agreed"]) == (7, True)
            direct = client.post("/predict/tiny", json={"inputs": [ROW]}).json
            assert direct == {key: value for key, value in answer.items() if key != "id"}
            metrics = client.get("/metrics").text
            assert 'edgemm_mqtt_requests_total{outcome="answered"} 2.0' in metrics
            assert "edgemm_mqtt_connected 1.0" in metrics
    with MqttProbe(port, client_id="later") as later:
        later.subscribe(STATUS)
        eventually(lambda: later.messages == [(STATUS, b"offline", True)], "it said that it went")


def test_mqtt_5_names_the_answers_topic_and_correlation(port: int, server: ModelServer) -> None:
    csv = ",".join(map(str, ROW)).encode()
    npy = io.BytesIO()
    np.save(npy, np.array([ROW]))
    with line(broker(port), server.ask) as _, Mqtt5Client(port) as home:
        home.subscribe("mine/#")
        for number, (payload, kind) in enumerate(((body(), None), (csv, "text/csv"), (npy.getvalue(), None))):
            home.publish(
                ASK,
                payload,
                response_topic="mine/here",
                correlation=b"\xff%d" % number,
                content_type=kind,
                user={"top": "2"},
            )
            answer = home.answers(number + 1)[number]
            assert (answer.topic, answer.correlation) == ("mine/here", b"\xff%d" % number)
            assert answer.content_type == "application/json"
            assert json.loads(answer.payload)["top"][0][0]["label"] == RIGHT


@pytest.mark.parametrize(
    ("model", "payload", "status"),
    [
        ("tiny", b"{", 400),
        ("tiny", b"[[1]]", 400),
        ("tiny", b"\x89PNG\r\n\x1a\n", 400),
        ("tiny", b"\x93NUMPY\x01\x00", 400),
        ("tiny", b"", 400),
        ("other", b"[[1]]", 404),
        ("a b?c", b"[[1]]", 404),
    ],
)
def test_every_error_is_one_json_with_the_id(
    port: int, server: ModelServer, model: str, payload: bytes, status: int
) -> None:
    with line(broker(port), server.ask), Mqtt5Client(port) as home:
        home.subscribe(f"{PREFIX}/+/answer")
        home.publish(f"{PREFIX}/{model}/predict", payload, correlation=b"c-1")
        [answer] = home.answers(1)
        told = json.loads(answer.payload)
        assert (answer.topic, told["id"], told["status"]) == (f"{PREFIX}/{model}/answer", "c-1", status)
        assert set(told) == {"id", "status", "error"}


def test_what_is_too_large_is_not_even_sent_or_refused(port: int, server: ModelServer) -> None:
    small = MqttLimits(max_payload_bytes=1000, backoff_first_s=0.05)
    with line(broker(port, limits=small), server.ask) as found, Mqtt5Client(port) as home:
        home.subscribe(ANSWER)
        home.publish(ASK, b"x" * 2000, correlation=b"large")
        assert json.loads(home.answers(1)[0].payload)["status"] == 413
        home.publish(ASK, b"x" * 1_000_000)
        home.publish(ASK, body(id="next"))
        assert json.loads(home.answers(2)[1].payload)["id"] == "next"
        assert found.connection == 1


def test_no_answer_starts_another_request(port: int, server: ModelServer) -> None:
    with line(broker(port), server.ask) as found, Mqtt5Client(port) as home:
        home.subscribe("#")
        for topic in (ASK, f"{PREFIX}/other/predict", STATUS, "elsewhere/tiny/predict"):
            home.publish(ASK, body(id="loop"), response_topic=topic)
        eventually(lambda: found.counts()[Outcome.REFUSED] == 4, "all were refused")
        home.publish(ASK, body(id="last"))
        eventually(lambda: any(b'"last","model"' in one.payload for one in home.heard), "the last is answered")
        answers = [json.loads(one.payload) for one in home.heard if one.topic == ANSWER]
        assert [one.get("status") for one in answers] == [400, 400, 400, 400, None]
        assert sum(one.topic == ASK for one in home.heard) == 5
        assert all(one.payload in {b"online", b"offline"} for one in home.heard if one.topic == STATUS)


def test_results_are_retained_where_it_is_asked(port: int, server: ModelServer) -> None:
    with line(broker(port), server.ask), Mqtt5Client(port) as home:
        home.subscribe("kept/#")
        home.publish(ASK, body(id="once"), response_topic="kept/1")
        home.publish(ASK, body(id="here"), response_topic="kept/2", user={"retain": "true"})
        home.publish(ASK, b"{", response_topic="kept/3", user={"retain": "true"})
        home.answers(3)
    with line(broker(port, retain=True), server.ask), MqttProbe(port, client_id="home") as old:
        old.subscribe(ANSWER)
        old.publish(ASK, body(id="kept"))
        old.publish(ASK, b"{")
        eventually(lambda: len(old.messages) == 2, "both are answered")
    with Mqtt5Client(port) as later:
        later.subscribe("#")
        kept = {one.topic: one.payload for one in later.answers(3)}
        assert set(kept) == {STATUS, ANSWER, "kept/2"}
        assert json.loads(kept[ANSWER])["id"] == "kept"


def test_a_retained_request_is_answered_once_and_not_at_each_connection(
    port: int, server: ModelServer, mosquitto: Path
) -> None:
    with Mqtt5Client(port) as home:
        home.subscribe(ANSWER)
        home.publish(ASK, body(id="old"), retain=True)
        for protocol_is_old in (False, True, False):
            with line(broker(port), server.ask) as found:
                if protocol_is_old:
                    found.refused()
                home.publish(ASK, body(id="new"))
                eventually(lambda: json.loads(home.heard[-1].payload)["id"] == "new" if home.heard else False, "new")
        assert {json.loads(one.payload)["id"] for one in home.heard} == {"new"}
        with line(broker(port), server.ask):
            home.publish(ASK, body(id="live"), retain=True)
            eventually(lambda: b'"live"' in home.heard[-1].payload, "one that comes now is answered")


def test_a_flood_is_dropped_and_counted_and_http_is_served_on(port: int) -> None:
    waiting: list[Any] = []

    def ask(request: Request, answer: Any) -> Reply | None:
        waiting.append(answer)
        return None

    limits = MqttLimits(max_in_flight=4)
    with line(broker(port, limits=limits), ask) as found, Mqtt5Client(port) as home:
        home.subscribe(ANSWER)
        for number in range(50):
            home.publish(ASK, body(id=number))
        eventually(lambda: found.counts()[Outcome.DROPPED] == 46, "what finds no room is dropped")
        assert len(waiting) == 4
        for answer in waiting:
            answer(json_body({"model": "tiny"}))
            answer(json_body({"model": "tiny"}))  # a thread that was given up comes back
        eventually(lambda: sum(b'"model"' in one.payload for one in home.heard) == 4, "the others are answered")
        assert all(json.loads(one.payload).get("status") in {None, 429} for one in home.heard)
        home.publish(ASK, body(id="again"))
        eventually(lambda: len(waiting) == 5, "there is room again")


def test_a_burst_of_a_house_is_answered_whole(port: int, server: ModelServer) -> None:
    """A home's automations ask about all its rooms at once."""
    with line(broker(port, limits=MqttLimits()), server.ask), Mqtt5Client(port) as home:
        home.subscribe(ANSWER)
        for number in range(60):
            home.publish(ASK, body(id=number))
        answers = [json.loads(one.payload) for one in home.answers(60)]
    assert {one["id"] for one in answers} == set(range(60))
    assert all("outputs" in one for one in answers)


def test_requests_that_are_refused_give_their_room_back(port: int, server: ModelServer) -> None:
    with line(broker(port, limits=MqttLimits(max_in_flight=2)), server.ask) as found, Mqtt5Client(port) as home:
        home.subscribe(ANSWER)
        for number in range(4):
            home.publish(ASK, body(id=number), response_topic=STATUS)
        assert {json.loads(one.payload)["status"] for one in home.answers(4)} == {400}
        assert found.counts()[Outcome.DROPPED] == 0


def test_requests_count_in_the_memory_of_the_server(port: int) -> None:
    waiting: list[Any] = []

    def ask(request: Request, answer: Any) -> Reply | None:
        waiting.append((request, answer))
        return None

    def answers(count: int) -> tuple[Any, Any]:
        told = json.loads(home.answers(count)[-1].payload)
        return told["id"], told.get("status")

    memory = MemoryBudget(100_000)
    with line(broker(port), ask, memory) as found, Mqtt5Client(port) as home:
        home.subscribe(ANSWER)
        home.publish(ASK, body(id="whole", more="x" * 40_000))
        eventually(lambda: memory.held_bytes > 40_000, "its payload is held")
        home.publish(ASK, body(id="second", more="x" * 40_000))
        assert answers(1) == ("second", 503)
        home.publish(ASK, body(id="never", more="x" * 120_000))
        assert answers(2) == ("never", 413)
        waiting.pop()[1](json_body({"model": "tiny"}))
        assert answers(3) == ("whole", None)
        home.publish(ASK, body(id="later", more="x" * 40_000))
        eventually(lambda: len(waiting) == 1, "there is room again")
        waiting.pop()[1](json_body({"outputs": "y" * 60_000}))
        assert answers(4) == ("later", 413)
        home.publish(ASK, body(id="last"))
        eventually(lambda: len(waiting) == 1, "it is heard")
        waiting.pop()[1](json_body({"model": "tiny"}))
        assert answers(5) == ("last", None)
        assert found.counts()[Outcome.DROPPED] == 0


def test_a_broker_that_takes_nothing_blocks_nobody() -> None:
    """A broker that lets the device in, sends requests, and never reads an answer."""

    def ask(request: Request, answer: Any) -> Reply | None:
        answer(json_body({"model": "x" * 60_000}))
        return None

    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = OwnerLine(
            broker(listener.getsockname()[1], limits=MqttLimits(max_unsent_bytes=300_000)), ask, UNBOUNDED
        )
        found.start()
        client, _ = listener.accept()
        client.recv(65536)
        client.sendall(bytes([0x20, 3, 0, 0, 0]))
        client.recv(65536)
        client.sendall(bytes([0x90, 4, 0, 1, 0, 1]))
        eventually(lambda: found.connected, "it is let in")
        topic = ASK.encode()
        for number in range(1, 101):
            variable = len(topic).to_bytes(2, "big") + topic + b"\0"
            packet = bytes([0x30, len(variable) + 2]) + variable + b"%02d" % (number % 100)
            client.sendall(packet)
        eventually(lambda: sum(found.counts().values()) == 100, "each is counted")
        assert found.counts()[Outcome.ANSWERED] <= 5
        client.close()
        found.stop()


def test_it_comes_back_when_the_broker_does(mosquitto: Path, tmp_path: Path, server: ModelServer) -> None:
    number = free_port()
    write_open_configuration(tmp_path, port=number)
    found = OwnerLine(broker(number), server.ask, UNBOUNDED)
    found.start()  # before there is a broker
    for _ in range(2):
        with MosquittoProcess(mosquitto, tmp_path, port=number) as process:
            assert found.wait_until_connected(30)
            with Mqtt5Client(number) as home:
                home.subscribe(ANSWER)
                home.publish(ASK, body(id="7"))
                assert json.loads(home.answers(1)[0].payload)["id"] == "7"
            process.kill()
            eventually(lambda: not found.connected, "it notices")
    found.stop()


def test_a_broker_of_mqtt_3_is_spoken_to(port: int, server: ModelServer) -> None:
    with OldBroker(port) as door, line(broker(door.port), server.ask) as found, MqttProbe(port, client_id="1") as home:
        assert door.turned_away == 1
        home.subscribe(f"{PREFIX}/#")
        home.publish(ASK, body(id="7"))
        eventually(lambda: any(topic == ANSWER for topic, _, _ in home.messages), "an answer")
        home.publish(ASK, b"x" * 20_000_000)  # nobody told this broker not to send it
        eventually(lambda: found.connection == 3, "the connection ends before that is read")
        eventually(lambda: (STATUS, b"offline", False) in home.messages, "its last will")
        eventually(lambda: home.messages[-1] == (STATUS, b"online", False), "it is back")


def test_the_last_will_is_that_of_whoever_vanishes(port: int, server: ModelServer) -> None:
    with line(broker(port), server.ask) as found, MqttProbe(port, client_id="home") as home:
        home.subscribe(STATUS)
        assert found._client is not None
        sock = found._client.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)
        eventually(lambda: (STATUS, b"offline", False) in home.messages, "its last will")
        eventually(lambda: home.messages[-1] == (STATUS, b"online", False), "it is back")


def test_the_last_will_of_a_connection_before_does_not_stay(port: int, server: ModelServer) -> None:
    before = MqttProbe(port, client_id="before", will=(STATUS, b"offline"))
    before.connect()
    with line(broker(port), server.ask), MqttProbe(port, client_id="home") as home:
        home.subscribe(STATUS)
        eventually(lambda: (STATUS, b"online") in [one[:2] for one in home.messages], "the device is online")
        before.vanish()
        eventually(lambda: [one[1] for one in home.messages][-2:] == [b"offline", b"online"], "it says so again")
        with MqttProbe(port, client_id="later") as later:
            later.subscribe(STATUS)
            eventually(lambda: later.messages == [(STATUS, b"online", True)], "that stays")


def test_requests_in_flight_are_answered_before_the_device_goes(port: int) -> None:
    asked: list[Callable[[Reply], None]] = []
    found = OwnerLine(broker(port), lambda _, answer: asked.append(answer), UNBOUNDED)
    found.start()
    assert found.wait_until_connected(30)
    with MqttProbe(port, client_id="home") as home:
        home.subscribe(f"{PREFIX}/#")
        home.publish(ASK, body(id="door"))
        eventually(lambda: len(asked) == 1, "it is asked")
        stopping = threading.Thread(target=found.stop, args=(60.0,))
        stopping.start()
        eventually(lambda: found._leaving, "it is told to end")
        asked[0](json_body({"model": "tiny", "version": "1.0.0", "outputs": {}}))
        stopping.join(60)
        eventually(lambda: any(topic == STATUS and p == b"offline" for topic, p, _ in home.messages), "it has gone")
        assert [topic for topic, _, _ in home.messages if topic in {ANSWER, STATUS}][-2:] == [ANSWER, STATUS]


@pytest.mark.parametrize("qos", [0, 1])
def test_of_5000_requests_at_once_each_is_answered_or_refused_with_its_id(
    mosquitto: Path, tmp_path: Path, server: ModelServer, qos: int
) -> None:
    number = free_port()
    write_open_configuration(tmp_path, port=number)
    with (tmp_path / "mosquitto.conf").open("a") as configuration:
        configuration.write("max_queued_messages 0\n")  # what a broker drops, no device can answer
    wanted, before = 5000, server.memory.held_bytes
    with (
        MosquittoProcess(mosquitto, tmp_path, port=number, verbose=False),
        line(broker(number), server.ask, server.memory) as found,
        MqttProbe(number, client_id="home") as home,
        MqttProbe(number, client_id="flood", unconfirmed=wanted) as flood,
        DeviceClient(server.address) as client,
    ):
        home.subscribe(ANSWER)
        for one in range(wanted):
            flood.send(ASK, body(id=one), qos=qos)
        assert client.get("/healthz").status_code == 200
        eventually(lambda: len(home.messages) >= wanted, "as many answers", timeout_s=120)
        told = [json.loads(payload) for _, payload, _ in home.messages]
        assert {answer["id"] for answer in told} == set(range(wanted))
        assert {answer.get("status", 200) for answer in told} <= {200, 429}
        eventually(lambda: sum(found.counts().values()) == wanted, "all are counted")
        assert found.counts()[Outcome.UNSENT] == 0
        assert client.get("/healthz").status_code == 200
    assert server.memory.held_bytes <= before + MqttLimits().max_in_flight_bytes


def test_a_broker_of_mqtt_5_is_told_how_many_it_may_send(port: int) -> None:
    with line(broker(port, limits=MqttLimits(max_in_flight=7)), lambda *_: json_body({})) as found:
        properties = found.connect_properties()
        assert properties is not None
        assert vars(properties)["ReceiveMaximum"] == 7
