from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm.topics import Channel, topic
from edgemm_fleet.broker import embedded
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules
from simulators.mqtt import MqttProbe
from simulators.mqtt_packets import connect_packet
from simulators.waiting import eventually

PASSWORDS = {MANAGER: "secret", "cam-1": "one", "cam-2": "two"}


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    rules = BrokerRules("lab", lambda username, password: PASSWORDS.get(username) == password)
    broker = EmbeddedBroker(rules, BrokerSettings(port=0))
    broker.start()
    yield broker
    broker.stop()


def device(broker: EmbeddedBroker, name: str = "cam-1", **settings: Any) -> MqttProbe:
    return MqttProbe(broker.port, client_id=name, username=name, password=PASSWORDS[name], **settings)


def manager(broker: EmbeddedBroker) -> MqttProbe:
    return MqttProbe(broker.port, client_id="m", username=MANAGER, password="secret")


def test_only_those_with_their_own_password_get_in(broker: EmbeddedBroker) -> None:
    refused = [
        MqttProbe(broker.port, client_id="cam-1"),
        MqttProbe(broker.port, client_id="cam-1", username="cam-1", password="two"),
        MqttProbe(broker.port, client_id="cam-2", username="cam-1", password="one"),
        device(broker, clean_session=False),
        device(broker, will=(topic("lab", "cam-2", Channel.STATUS), b"gone")),
    ]
    for probe in refused:
        assert not probe.connect()
        probe.close()
    with device(broker) as probe:
        assert probe.accepted


def test_an_impostor_does_not_end_the_session_of_the_device_it_claims_to_be(broker: EmbeddedBroker) -> None:
    with manager(broker) as fleet, device(broker) as real:
        assert real.subscribe(topic("lab", "cam-1", Channel.DESIRED)) == [True]
        impostor = MqttProbe(broker.port, client_id="cam-1", username="cam-1", password="guess")
        assert not impostor.connect()
        impostor.close()
        fleet.publish(topic("lab", "cam-1", Channel.DESIRED), b"still here")
        eventually(lambda: real.messages, "the device still hears the fleet")


def test_a_device_subscribes_only_to_its_own(broker: EmbeddedBroker) -> None:
    with device(broker) as probe:
        granted = probe.subscribe(
            topic("lab", "cam-1", Channel.DESIRED),
            topic("lab", "cam-1", Channel.ACK),
            topic("lab", "cam-2", Channel.DESIRED),
            topic("lab", "cam-1", Channel.REPORTED),
            "edgemm/v1/lab/+/+/desired",
            "#",
        )
    assert granted == [True, True, False, False, False, False]


def test_what_a_device_publishes_under_another_name_reaches_nobody(broker: EmbeddedBroker) -> None:
    with manager(broker) as fleet, device(broker) as probe:
        fleet.subscribe("edgemm/v1/lab/+/+/event", "edgemm/v1/lab/+/+/desired")
        probe.publish(topic("lab", "cam-2", Channel.EVENT), b"forged")
        probe.publish(topic("lab", "cam-1", Channel.DESIRED), b"forged")
        probe.publish(topic("lab", "cam-1", Channel.EVENT), b"true")
        eventually(lambda: fleet.messages, "the manager hears the device")
        assert [payload for _, payload, _ in fleet.messages] == [b"true"]


def test_a_new_client_is_sent_no_retained_message_of_others(broker: EmbeddedBroker) -> None:
    with manager(broker) as fleet, device(broker, "cam-2") as other:
        fleet.subscribe("edgemm/v1/lab/+/+/reported")
        other.publish(topic("lab", "cam-2", Channel.REPORTED), b"state of 2", retain=True)
        fleet.publish(topic("lab", "cam-1", Channel.DESIRED), b"for 1", retain=True)
        eventually(lambda: fleet.messages, "the broker took what cam-2 retained")
        with device(broker) as probe:
            probe.subscribe(topic("lab", "cam-1", Channel.DESIRED))
            eventually(lambda: probe.messages, "the device gets its own retained message")
            assert probe.messages == [(topic("lab", "cam-1", Channel.DESIRED), b"for 1", True)]


def test_the_last_will_of_a_device_that_vanishes_reaches_the_manager(broker: EmbeddedBroker) -> None:
    with manager(broker) as fleet:
        fleet.subscribe("edgemm/v1/lab/+/+/status")
        probe = device(broker, will=(topic("lab", "cam-1", Channel.STATUS), b"gone"))
        assert probe.connect()
        probe.vanish()
        eventually(lambda: fleet.messages, "the will arrives")
        assert fleet.messages[0][1] == b"gone"
        probe.close()


def test_a_second_connection_of_a_device_takes_over_without_the_will_of_the_first(broker: EmbeddedBroker) -> None:
    status = topic("lab", "cam-1", Channel.STATUS)
    with manager(broker) as fleet:
        fleet.subscribe("edgemm/v1/lab/+/+/status")
        first = device(broker, will=(status, b"gone"))
        assert first.connect()
        with device(broker) as second:
            first.wait_until_disconnected()
            second.publish(status, b"back")
            eventually(lambda: fleet.messages, "the second connection is heard")
            assert [payload for _, payload, _ in fleet.messages] == [b"back"]
        first.close()


def test_a_device_that_was_removed_is_disconnected_and_the_others_are_not(broker: EmbeddedBroker) -> None:
    with manager(broker) as fleet, device(broker) as removed, device(broker, "cam-2") as other:
        fleet.subscribe("edgemm/v1/lab/+/+/event")
        broker.close_connections({"cam-1"})
        removed.wait_until_disconnected()
        other.publish(topic("lab", "cam-2", Channel.EVENT), b"still here")
        eventually(lambda: fleet.messages, "the manager hears the other device")


def test_a_payload_larger_than_any_message_ends_its_connection_and_reaches_nobody(broker: EmbeddedBroker) -> None:
    with manager(broker) as fleet, device(broker, "cam-2") as other:
        fleet.subscribe("edgemm/v1/lab/+/+/event")
        flood = device(broker)
        assert flood.connect()
        flood.send(topic("lab", "cam-1", Channel.EVENT), bytes(1024 * 1024))
        flood.wait_until_disconnected()
        flood.close()
        other.publish(topic("lab", "cam-2", Channel.EVENT), b"small")
        eventually(lambda: fleet.messages, "the manager hears the other device")
        assert [payload for _, payload, _ in fleet.messages] == [b"small"]


def test_a_port_that_is_taken_is_one_clear_line(broker: EmbeddedBroker) -> None:
    second = EmbeddedBroker(BrokerRules("lab", lambda *_: True), BrokerSettings(port=broker.port))
    with pytest.raises(
        EnvironmentFailure, match=rf"cannot listen on 127\.0\.0\.1:{broker.port}: .*; choose another port"
    ):
        second.start()


def test_a_stop_that_is_cut_short_is_silent(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STOP_TIMEOUT_S", 0)
    broker = EmbeddedBroker(BrokerRules("lab", lambda *_: True), BrokerSettings(port=0))
    broker.start()
    broker.stop()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_the_port_is_free_again_after_a_stop() -> None:
    rules = BrokerRules("lab", lambda *_: True)
    first = EmbeddedBroker(rules, BrokerSettings(port=0))
    first.start()
    with MqttProbe(first.port, client_id="cam-1", username="cam-1", password="x") as probe:
        first.stop()
        probe.wait_until_disconnected()
    second = EmbeddedBroker(rules, BrokerSettings(port=first.port))
    second.start()
    second.stop()


@pytest.mark.parametrize("how", ["disconnect", "vanish"])
def test_what_a_client_said_before_it_went_is_passed_on_in_order(broker: EmbeddedBroker, how: str) -> None:
    event, status = topic("lab", "cam-1", Channel.EVENT), topic("lab", "cam-1", Channel.STATUS)
    said = [f"{number}".encode() for number in range(200)]
    with manager(broker) as fleet:
        fleet.subscribe("edgemm/v1/lab/+/+/event", "edgemm/v1/lab/+/+/status")
        probe = device(broker, will=(status, b"gone"))
        probe.connect()
        for sent in [probe.send(event, payload) for payload in said]:
            sent.wait_for_publish(20)
        (probe.close if how == "disconnect" else probe.vanish)()
        wanted = said if how == "disconnect" else [*said, b"gone"]
        eventually(lambda: len(fleet.messages) >= len(wanted), "the manager hears all of it")
        assert [payload for _, payload, _ in fleet.messages] == wanted


@pytest.mark.parametrize("pause_s", [0.0, 0.9])
def test_a_client_that_comes_back_at_once_is_let_in_once_a_second_however_impatient_it_is(
    broker: EmbeddedBroker, pause_s: float
) -> None:
    with device(broker):
        pass
    tries = 0
    answer = b""
    while not answer:
        tries += 1
        with socket.create_connection(("127.0.0.1", broker.port), timeout=0.2) as client, suppress(TimeoutError):
            client.sendall(connect_packet("cam-1", ("cam-1", PASSWORDS["cam-1"])))
            answer = client.recv(4)
        threading.Event().wait(pause_s)
    assert answer == b"\x20\x02\0\0"
    assert tries > 1, "it was held up"
