from __future__ import annotations

import gc
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.errors import EnvironmentFailure
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_settings import BrokerSettings, TlsFiles
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.topic_rights import BrokerRules
from edgemm_fleet.server.services import ManagerSettings
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_runtime.agent.connection.mqtt import MqttConnection
from edgemm_runtime.agent.state.speaker import Speaker
from simulators.agent import QUICK_LIMITS
from simulators.broker import FLEET, enrol
from simulators.managed import PASSWORD, ManagedFleet


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    files = TlsFiles(tmp_path / "server.crt", tmp_path / "server.key")
    create_certificate(files.certificate, files.private_key, names=["fleet.example"], now=datetime.now(UTC))
    return files


def shake_hands(port: int, context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


def test_manager_and_devices_trust_exactly_the_servers_certificate(tmp_path: Path, tls: TlsFiles) -> None:
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0, files=tls))) as fleet:
        assert fleet.manager.connected
        access = fleet.manager.credentials.access("cam-1", "pw")
        assert access.tls
        shake_hands(fleet.manager.port, ssl.create_default_context(cadata=access.ca))
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(fleet.manager.port, ssl.create_default_context())


@pytest.fixture(params=[1990, 2080], ids=["expired", "of a far future"])
def out_of_date(request: pytest.FixtureRequest, tmp_path: Path) -> TlsFiles:
    """A certificate as devices see it whose clock is decades off: 2040 and later, or 1970; its name fits no address."""
    files = TlsFiles(tmp_path / "old.crt", tmp_path / "old.key")
    now = datetime(request.param, 1, 1, tzinfo=UTC)
    create_certificate(files.certificate, files.private_key, names=["fleet.example"], now=now)
    return files


def device_link(access: BrokerAccess, said: list[str]) -> MqttConnection:
    who = Speaker(FLEET, "cam-1", "0" * 16, 1)
    return MqttConnection(access, who, QUICK_LIMITS, on_connected=lambda: said.append("in"), on_message=lambda *_: None)


def test_the_pinned_certificate_holds_whatever_its_name_and_dates_say(tmp_path: Path, out_of_date: TlsFiles) -> None:
    said: list[str] = []
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0, files=out_of_date))) as fleet:
        assert fleet.manager.connected, "nor does the manager lose its own broker"
        with fleet.store.write() as tx:
            enrol(tx, "cam-1", CryptoSigner.generate_ed25519(), labels={}, password=PASSWORD)
        link = device_link(fleet.manager.credentials.access("cam-1", PASSWORD), said)
        link.start()
        fleet.wait(lambda: said, "the device is let in")
        link.stop(5.0)


# paho leaves a socket whose handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_another_certificate_of_the_same_name_is_not_taken_for_it(
    tmp_path: Path, tls: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    other = TlsFiles(tmp_path / "other.crt", tmp_path / "other.key")
    create_certificate(other.certificate, other.private_key, names=["fleet.example"], now=datetime.now(UTC))
    said: list[str] = []
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0, files=tls))) as fleet:
        access = fleet.manager.credentials.access("cam-1", PASSWORD)
        link = device_link(replace(access, ca=other.certificate.read_text()), said)
        link.start()
        fleet.wait(lambda: "certificate verify failed" in caplog.text, "the device refuses the server")
        link.stop(5.0)
    gc.collect()
    assert said == []


def test_a_key_that_is_missing_is_one_clear_line(tls: TlsFiles) -> None:
    tls.private_key.unlink()
    broker = EmbeddedBroker(BrokerRules(FLEET, lambda *_: True), BrokerSettings(port=0, files=tls))
    with pytest.raises(EnvironmentFailure, match=r"the embedded broker cannot listen on .*server\.key"):
        broker.start()
    broker.stop()


_STRANGER = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd"


@pytest.mark.parametrize("packet", [b"\x10\xc0\x80\x04", _STRANGER], ids=["too large", "no login"])
def test_who_sends_on_after_a_refusal_leaves_no_traceback(
    tmp_path: Path, tls: TlsFiles, caplog: pytest.LogCaptureFixture, packet: bytes
) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0, files=tls))) as fleet:

        def connect() -> ssl.SSLSocket:
            return context.wrap_socket(socket.create_connection(("127.0.0.1", fleet.manager.port)))

        for _ in range(10):
            with connect() as line, suppress(OSError):
                line.sendall(packet)
                line.sendall(bytes(65_600))
        with connect() as patient:  # told last, so all are over
            patient.sendall(_STRANGER)
            assert patient.recv(4) == b"\x20\x02\x00\x05"
        said = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert not said
