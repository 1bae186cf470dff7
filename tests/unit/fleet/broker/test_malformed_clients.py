"""What MQTT forbids a client ends its connection, and no client leaves a traceback or an object's address in a log."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator

import pytest

from edgemm.topics import Channel, topic
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules
from simulators.mqtt import MqttProbe
from simulators.waiting import eventually

PASSWORDS = {MANAGER: "secret", "cam-1": "one"}
OWN, TOLD = topic("lab", "cam-1", Channel.STATUS), topic("lab", "cam-1", Channel.DESIRED)
WELCOME = b"\x20\x02\x00\x00"
_USER, _PASSWORD, _WILL, _CLEAN = 0x80, 0x40, 0x04, 0x02


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(
        BrokerRules("lab", lambda username, password: PASSWORDS.get(username) == password), BrokerSettings(port=0)
    )
    broker.start()
    yield broker
    broker.stop()


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def packet(kind: int, body: bytes) -> bytes:
    return bytes([kind, len(body)]) + body


def connect(*, flags: int = 0, will: bool = False, password: str = "one") -> bytes:
    """Return a CONNECT of `cam-1` with more flags."""
    flags |= _USER | _PASSWORD | _CLEAN | (_WILL if will else 0)
    words = ["cam-1", *([OWN, "{}"] if will else []), "cam-1", password]
    return packet(0x10, text("MQTT") + bytes([4, flags, 0, 30]) + b"".join(map(text, words)))


def subscribe(*filters: tuple[str, int], kind: int = 0x82) -> bytes:
    return packet(kind, b"\0\7" + b"".join(text(name) + bytes([qos]) for name, qos in filters))


def heard(broker: EmbeddedBroker, *packets: bytes) -> bytes:
    """Send packets; return all that the broker says until it closes the connection."""
    found = b""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=60) as line:
        for one in packets:
            line.sendall(one)
        try:
            while data := line.recv(1000):
                found += data
        except ConnectionResetError:
            pass
    return found


@pytest.mark.parametrize(
    "first",
    [connect(will=True, flags=3 << 3), connect(flags=1 << 3), connect(flags=2 << 3), connect(flags=1 << 5)],
    ids=["will of QoS 3", "QoS of no will", "QoS 2 of no will", "no will to retain"],
)
def test_a_will_that_cannot_be_closes_the_connection(broker: EmbeddedBroker, first: bytes) -> None:
    """MQTT-3.1.2-13, 3.1.2-14 and 3.1.2-15."""
    assert heard(broker, first) == b""


@pytest.mark.parametrize(
    "second",
    [subscribe((TOLD, 3)), subscribe((TOLD, 1), (TOLD, 3)), subscribe((TOLD, 0x81)), subscribe(),
     packet(0x30 | 3 << 1, text(OWN) + b"\0\7{}"), packet(0x30 | 2 << 1, text(OWN) + b"\0\7{}")],
    ids=["QoS 3", "QoS 3 last", "reserved bits", "no filter", "a message of QoS 3", "a message of QoS 2"],
)  # fmt: skip
def test_what_no_client_may_send_closes_the_connection(broker: EmbeddedBroker, second: bytes) -> None:
    """MQTT-3.8.3-3, 3.8.3-4 and 3.3.1-4; no device sends QoS 2."""
    assert heard(broker, connect(), second) == WELCOME


def test_who_asks_for_qos_2_is_sent_qos_1(broker: EmbeddedBroker) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=60) as line:
        line.sendall(connect(will=True, flags=2 << 3) + subscribe((TOLD, 2)))
        assert line.recv(4, socket.MSG_WAITALL) == WELCOME
        assert line.recv(5, socket.MSG_WAITALL)[:2] == b"\x90\x03"
        with MqttProbe(broker.port, client_id="m", username=MANAGER, password="secret") as fleet:
            fleet.subscribe("edgemm/v1/lab/+/+/status")
            fleet.publish(TOLD, b"!")
            assert line.recv(1)[0] == 0x30 | 1 << 1
            line.close()
            eventually(lambda: [payload for _, payload, _ in fleet.messages] == [b"{}"], "the will is heard")


def test_such_clients_fill_no_log(broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture) -> None:
    with MqttProbe(broker.port, client_id="m", username=MANAGER, password="secret") as fleet:
        fleet.subscribe("edgemm/v1/lab/+/+/status")
        for _ in range(8):
            heard(broker, connect(will=True, flags=3 << 3))
        heard(broker, connect(), subscribe((TOLD, 3)))
        heard(broker, connect(), subscribe((TOLD, 3)))
    broker.stop()
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("edgemm") and one.levelno > logging.INFO]
    assert len(ours) <= 8, ours
    assert not [line for line in ours if re.search(r"0x[0-9a-f]{6}", line)]


def test_an_end_during_refusals_leaves_no_traceback(broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture) -> None:
    lines = [socket.create_connection(("127.0.0.1", broker.port), timeout=60) for _ in range(20)]
    for line in lines:
        line.sendall(connect(password="wrong"))
    eventually(lambda: broker._broker is not None and broker._broker._refused > 0, "they are being refused")
    broker.stop()
    for line in lines:
        line.close()
    assert not [one for one in caplog.records if one.exc_info or one.name == "asyncio"]
