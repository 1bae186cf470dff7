from __future__ import annotations

import socket
import threading

import pytest

from edgemm import topics
from edgemm.messages import MAX_CONTROL_BYTES
from edgemm.topics import Channel
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_connection import BrokerConnection
from simulators.mqtt_packets import publish_packet
from simulators.rude_broker import RudeBroker
from simulators.waiting import eventually


def test_a_packet_that_cannot_be_read_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    with RudeBroker() as broker:
        access = BrokerAccess(host="127.0.0.1", port=broker.port, tls=False, username="m", password="pw")
        link = BrokerConnection(access, fleet="lab", client_id="m", receive=lambda *_: None)
        link.start()
        assert broker.wait_for_connections(3), "the manager comes back after each"
        link.stop()
    assert "broker_connection_failed" in caplog.text


def test_a_packet_of_many_megabytes_is_thrown_away_as_it_comes_and_the_next_is_heard() -> None:
    heard: list[tuple[str, int]] = []
    topic = topics.topic("lab", "cam-1", Channel.EVENT)

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(bytes([0x20, 2, 0, 0]))
            asked = connection.recv(4096)
            connection.sendall(bytes([0x90, 6]) + asked[2:4] + bytes([1] * 4))
            for size in (32 * 1024 * 1024, 10):
                connection.sendall(publish_packet(topic, bytes(size), qos=0, message_id=0))
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        access = BrokerAccess(host="127.0.0.1", port=listener.getsockname()[1], tls=False, username="m", password="pw")
        link = BrokerConnection(
            access,
            fleet="lab",
            client_id="m",
            receive=lambda came: heard.extend((topic, len(payload)) for topic, payload, _ in came),
        )
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        link.start()
        eventually(lambda: len(heard) == 2, "both are heard")
        link.stop()
        thread.join()
    (_, long), (name, short) = heard
    assert MAX_CONTROL_BYTES < long < 1024 * 1024, "it is too long to be read, and no longer than that"
    assert (name, short) == (topic, 10)
