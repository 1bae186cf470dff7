"""Clients that reset their connection at any moment cost no more than a line in the log."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgemm.topics import Channel, topic
from edgemm_fleet.broker.broker_settings import BrokerSettings, TlsFiles
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules
from edgemm_fleet.trust.certificate import create_certificate
from simulators.mqtt import MqttProbe
from simulators.mqtt_packets import connect_packet, publish_packet
from simulators.resetting import cuts, reset_after, reset_in_handshake

PASSWORDS = {MANAGER: "secret", "cam-1": "one"}
CONNECT = connect_packet("cam-1", ("cam-1", "one"))
STRANGE = connect_packet("cam-1", ("cam-1", "wrong"))
PUBLISH = publish_packet(topic("lab", "cam-1", Channel.EVENT), bytes(20_000), qos=1, message_id=1)
MOST = 5


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def broker(tmp_path: Path, tls: bool) -> Iterator[EmbeddedBroker]:
    files = TlsFiles(tmp_path / "server.crt", tmp_path / "server.key") if tls else None
    if files is not None:
        create_certificate(files.certificate, files.private_key, names=["localhost"], now=datetime.now(UTC))
    rules = BrokerRules("lab", lambda username, password: PASSWORDS.get(username) == password)
    broker = EmbeddedBroker(rules, BrokerSettings(port=0, files=files))
    broker.start()
    yield broker
    broker.stop()


def test_a_reset_logs_no_traceback(broker: EmbeddedBroker, tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    reset_in_handshake(broker.port, most=MOST)
    for first, then in ((CONNECT, PUBLISH), (STRANGE, b""), (b"GET / HTTP/1.1\r\n\r\n", b"")):
        for wait_s in (0.0, 0.003, *([0.25] if first is STRANGE else [])):
            for part in cuts(first, most=MOST):
                reset_after(broker.port, part, tls=tls, wait_s=wait_s)
            for part in cuts(then, most=MOST):
                reset_after(broker.port, first + part, tls=tls, wait_s=wait_s)
    reset_after(broker.port, CONNECT + PUBLISH, tls=tls, read=4)
    broker.stop()
    gc.collect()  # a task that nobody asks logs its failure only when it is collected
    assert [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR] == []


def test_an_honest_client_gets_in_after_them(broker: EmbeddedBroker, tls: bool) -> None:
    for part in cuts(CONNECT, most=MOST):
        reset_after(broker.port, part, tls=tls)
    if not tls:
        with MqttProbe(broker.port, client_id="m", username=MANAGER, password="secret") as probe:
            assert probe.accepted
