from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.access import BrokerRules
from edgemm_fleet.broker.embedded import EmbeddedBroker, TlsFiles
from edgemm_fleet.manager import ManagerSettings
from edgemm_fleet.trust.certificate import create_certificate
from simulators.broker import FLEET
from simulators.managed import ManagedFleet


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
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, port=0, tls=tls)) as fleet:
        assert fleet.manager.connected
        access = fleet.manager.credentials.access("cam-1", "pw")
        assert access.tls
        shake_hands(fleet.manager.port, ssl.create_default_context(cadata=access.ca))
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(fleet.manager.port, ssl.create_default_context())


def test_a_key_that_is_missing_is_one_clear_line(tls: TlsFiles) -> None:
    tls.private_key.unlink()
    broker = EmbeddedBroker(BrokerRules(FLEET, lambda *_: True), host="127.0.0.1", port=0, tls=tls)
    with pytest.raises(EnvironmentFailure, match=r"the embedded broker cannot listen on .*server\.key"):
        broker.start()
    broker.stop()
