"""The one way to a broker: another connection after each, and no end that goes unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from paho.mqtt.client import Client

from edgemm.errors import InputError
from edgemm.transport.backoff import Backoff
from edgemm.transport.broker_line import BrokerLine, LinePatience
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules
from simulators.mosquitto import free_port
from simulators.rude_broker import DeafBroker, LongWindedBroker, RudeBroker
from simulators.waiting import eventually


class _Asked(Backoff):
    """Pauses that are short, and say after how many failures each was."""

    asked: list[int]

    def delay_s(self, failures: int, *, draw: float) -> float:
        self.asked.append(failures)
        return super().delay_s(failures, draw=draw)


class _Line(BrokerLine):
    """Opens as soon as it is let in, and notes what happens."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        backoff = _Asked(0.01, 0.05)
        object.__setattr__(backoff, "asked", [])
        self.pauses: list[int] = backoff.asked
        self.heard: list[tuple[str, bytes]] = []
        self.losses = 0
        access = BrokerAccess(host=host, port=port, tls=False, username=MANAGER, password="pw")
        super().__init__(access, client_id="line", patience=LinePatience(5.0, 30, backoff))

    def accepted(self, client: Client) -> None:
        client.subscribe("edgemm/v1/lab/#", 1)
        self.opened()

    def received(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))

    def lost(self) -> None:
        self.losses += 1


@contextmanager
def _kept(line: _Line) -> Iterator[_Line]:
    line.start()
    try:
        yield line
    finally:
        line.stop(60)


@contextmanager
def _broker(port: int) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(BrokerRules("lab", lambda *_: True), BrokerSettings(port=port))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def test_a_line_comes_back_to_a_broker_that_went_away() -> None:
    port, topic = free_port(), "edgemm/v1/lab/00/cam-1/event"
    with _kept(_Line(port)) as line:
        for number in (1, 2):
            with _broker(port):
                assert line.wait_until_connected(60)
                assert line.send(topic, bytes([number]), retain=False) is not None
                eventually(lambda: (topic, bytes([number])) in line.heard, "it hears what it sent")  # noqa: B023 - at once
            eventually(lambda: line.losses == number, "it notices")  # noqa: B023 - at once
            assert line.send(topic, b"lost", retain=False) is None
    assert not line.connected


def test_a_broker_that_drops_everybody_at_once_is_called_upon_less_and_less() -> None:
    with RudeBroker() as broker, _kept(_Line(broker.port)) as line:
        eventually(lambda: len(line.pauses) >= 4, "it tried again and again")
    assert line.pauses[:4] == [1, 2, 3, 4]


def test_a_packet_of_256_mb_ends_the_connection_before_it_is_read() -> None:
    with LongWindedBroker() as broker, _kept(_Line(broker.port)) as line:
        eventually(lambda: line.losses >= 1, "it hung up")
    assert broker.sent_bytes < 32 * 1024 * 1024


def test_a_broker_that_confirms_nothing_is_left_before_its_share_of_memory_is_full() -> None:
    class Bounded(_Line):
        most_unconfirmed = 10

    with DeafBroker() as broker, _kept(Bounded(broker.port)) as line:
        eventually(lambda: line.connected, "it is let in")
        taken = 0
        while line.send("edgemm/v1/lab/ab/cam-1/event", b"x", retain=False) is not None:
            taken += 1
        assert taken == Bounded.most_unconfirmed
        eventually(lambda: line.losses == 1, "the connection ends")
        assert broker.wait_for_connections(2), "and another one begins"


def test_plain_mqtt_stays_on_this_machine() -> None:
    with pytest.raises(InputError, match="plain MQTT is for loopback only"):
        _Line(1883, host="broker.example")


def test_what_fails_unforeseen_in_one_connection_does_not_end_the_line(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(_Line):
        def prepare(self, client: Client) -> None:
            raise ZeroDivisionError

    with _kept(Broken(1)) as line:
        eventually(lambda: len(line.pauses) >= 3, "it goes on trying")
    assert "broker_connection_failed" in caplog.text


def test_a_line_that_is_stopped_at_once_ends() -> None:
    for _ in range(20):
        line = _Line(free_port())
        line.start()
        line.stop(60)
        assert not any(thread is line._thread for thread in threading.enumerate())
