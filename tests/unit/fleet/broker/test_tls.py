from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgemm_fleet.broker.embedded import TlsFiles
from edgemm_fleet.manager import ManagerSettings
from edgemm_fleet.trust.certificate import create_certificate
from simulators.broker import FLEET
from simulators.managed import ManagedFleet


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    files = TlsFiles(tmp_path / "server.crt", tmp_path / "server.key")
    create_certificate(files.certificate, files.private_key, names=["fleet.example"], now=datetime.now(UTC))
    return files


def test_manager_and_devices_trust_exactly_the_servers_certificate(tmp_path: Path, tls: TlsFiles) -> None:
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, port=0, tls=tls)) as fleet:
        assert fleet.manager.connected
        access = fleet.manager.credentials.access("cam-1", "pw")
        assert access.tls
        assert access.ca == tls.certificate.read_text()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="cam-1")
        client.tls_set_context(ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            client.connect("127.0.0.1", fleet.manager.port)
        client.tls_set_context = None  # the context is used once


def test_a_certificate_that_is_missing_is_one_clear_line(tmp_path: Path, tls: TlsFiles) -> None:
    settings = ManagerSettings(FLEET, port=0, tls=tls)
    tls.private_key.unlink()
    fleet = ManagedFleet(tmp_path, settings)
    with pytest.raises(Exception, match="server.key"):
        fleet.manager.start()
    fleet.manager.stop()
    fleet.store.close()
