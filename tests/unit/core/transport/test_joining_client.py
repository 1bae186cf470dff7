from __future__ import annotations

import getpass
import queue
import random
import socket
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MessageType, _ConnectionState

from edgemm.transport.joining_client import JoiningClient, _join
from edgemm.transport.whole_packets import Taken, publish_packet
from edgemm.trust.tls import pinned_context
from edgemm_fleet.trust.certificate import create_certificate
from simulators.mosquitto import MosquittoProcess, free_port, write_open_configuration
from simulators.waiting import eventually


def packet(command: int, data: bytes, *, qos: int = 0, pos: int = 0) -> dict[str, Any]:
    return {"command": command, "mid": 1, "qos": qos, "pos": pos, "to_process": len(data) - pos, "packet": data}


def test_what_nothing_follows_is_joined_and_the_rest_keeps_its_place() -> None:
    last = [packet(MessageType.DISCONNECT, b"end"), packet(MessageType.PUBACK, b"late")]
    first = [packet(MessageType.PUBACK, b"0123", pos=2), packet(MessageType.PUBLISH, b"said", qos=1)]
    waiting = deque([*first, *last])
    _join(waiting)
    joined = waiting.popleft()
    assert (joined["packet"], joined["pos"], joined["to_process"]) == (b"23said", 0, 6)
    assert list(waiting) == last


def test_a_message_of_qos_0_is_told_of_when_it_is_written_and_so_stays_alone() -> None:
    waiting = deque([packet(MessageType.PUBLISH, b"a"), packet(MessageType.PUBLISH, b"b")])
    before = list(waiting)
    _join(waiting)
    assert list(waiting) == before


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("way", ["paho", "joins", "taken"])
def test_everything_that_is_published_comes_back_in_order_and_is_confirmed(
    tmp_path: Path, mosquitto: Path, *, way: str, tls: bool
) -> None:
    port, draw = free_port(), random.Random(way)
    write_open_configuration(tmp_path, port=port)
    payloads = [bytes([number % 256]) * draw.choice((0, 3, 300, 20_000, 150_000)) for number in range(60)]
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    confirmed: queue.SimpleQueue[int] = queue.SimpleQueue()
    subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
    client = JoiningClient(CallbackAPIVersion.VERSION2, client_id="one")
    client.joins = way != "paho"
    taken = list[int]()

    def take(messages: list[Taken]) -> None:
        taken.append(len(messages))
        for _, payload, _ in messages:
            came.put(payload)

    if way == "taken":
        client.on_taken = take
    if tls:
        certificate, key = tmp_path / "broker.crt", tmp_path / "broker.key"
        create_certificate(certificate, key, names=(), now=datetime.now(UTC))
        with (tmp_path / "mosquitto.conf").open("a") as file:
            file.write(f"certfile {certificate}\nkeyfile {key}\nuser {getpass.getuser()}\n")
        client.tls_set_context(pinned_context(certificate.read_text()))
    client.on_message = lambda *args: came.put(bytes(args[2].payload))
    client.on_publish = lambda *args: confirmed.put(args[2])
    client.on_subscribe = lambda *args: subscribed.put(args[2])
    with MosquittoProcess(mosquitto, tmp_path, port=port):
        client.connect("127.0.0.1", port)
        client.subscribe("said", 1)
        client.loop_start()
        subscribed.get(timeout=30)
        told = [client.publish("said", payload, qos=1).mid for payload in payloads]
        assert [came.get(timeout=30) for _ in payloads] == payloads
        assert [confirmed.get(timeout=30) for _ in told] == told
        assert bool(taken) is (way == "taken")
        assert client.disconnect() == mqtt.MQTT_ERR_SUCCESS
        client.loop_stop()


def test_what_is_published_together_comes_and_of_nothing_more_is_confirmation_awaited(
    tmp_path: Path, mosquitto: Path
) -> None:
    port = free_port()
    write_open_configuration(tmp_path, port=port)
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    confirmed: queue.SimpleQueue[int] = queue.SimpleQueue()
    subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
    client = JoiningClient(CallbackAPIVersion.VERSION2, client_id="one")
    client.max_queued_messages_set(1000)
    client.joins = True

    def take(messages: list[Taken]) -> None:
        for _, payload, _ in messages:
            came.put(payload)

    client.on_taken = take
    client.on_publish = lambda *args: confirmed.put(args[2])
    client.on_subscribe = lambda *args: subscribed.put(args[2])
    with MosquittoProcess(mosquitto, tmp_path, port=port):
        client.connect("127.0.0.1", port)
        client.subscribe("said", 0)
        client.loop_start()
        subscribed.get(timeout=30)
        for batch in range(100):  # more than there are ids
            payloads = [f"{batch} {number}".encode() for number in range(700)]
            assert client.publish_together([("said", payload) for payload in payloads]) == mqtt.MQTT_ERR_SUCCESS
            assert [came.get(timeout=30) for _ in payloads] == payloads
            eventually(lambda: not client._untold, "the broker has confirmed them")
        own = client.publish("said", b"mine", qos=1).mid
        assert confirmed.get(timeout=30) == own
        assert confirmed.empty(), "nobody is told of those that went together"
        assert client.publish_together([("said", b"")] * 1001) == mqtt.MQTT_ERR_QUEUE_SIZE
        client.disconnect()
        client.loop_stop()


def test_a_broker_whose_messages_come_is_not_gone_though_its_answer_is_behind_them() -> None:
    client = JoiningClient(CallbackAPIVersion.VERSION2, client_id="one")
    came = list[Taken]()
    client.joins, client.on_taken = True, came.extend
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        client._sock, client._state = here, _ConnectionState.MQTT_CS_CONNECTED
        asked_s = time.monotonic() - client._keepalive - 1
        client._ping_t = client._last_msg_out = client._last_bytes_received = asked_s
        there.sendall(publish_packet("said", b"x", 1))
        assert client.loop_read() == mqtt.MQTT_ERR_SUCCESS
        assert came == [("said", b"x", False)]
        client._check_keepalive()
        assert client._sock is here
        client._sock = None
