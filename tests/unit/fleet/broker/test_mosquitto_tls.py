"""Mosquitto with TLS: the fleet's certificate, or another, in its files; and a broker that has none where it should."""

from __future__ import annotations

import gc
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from msgspec.structs import replace as replaced

from edgemm.errors import EnvironmentFailure
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker import tls_pair
from edgemm_fleet.broker.broker_connection import BrokerConnection
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider, TlsFiles
from edgemm_fleet.broker.login_probe import ProbeAnswer, probe_login
from edgemm_fleet.broker.mosquitto import MosquittoCredentials, MosquittoFiles
from edgemm_fleet.broker.topic_rights import MANAGER
from edgemm_fleet.trust.certificate import create_certificate
from simulators.mosquitto import MosquittoProcess, free_port, write_open_configuration
from simulators.waiting import eventually


def pair(folder: Path, name: str) -> TlsFiles:
    """Make a certificate of its own."""
    files = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key")
    create_certificate(files.certificate, files.private_key, names=["fleet.example"], now=datetime.now(UTC))
    return files


def credentials(
    folder: Path, own: TlsFiles, *, port: int = 8883, host: str = "localhost", other: TlsFiles | None = None
) -> MosquittoCredentials:
    place = MosquittoFolder(folder, pid_file=folder / "pid", files=other)
    settings = BrokerSettings(
        Provider.MOSQUITTO, host=host, port=port, tls=True, files=None if other else own, login=(MANAGER, "secret"),
        mosquitto=place,
    )  # fmt: skip
    return MosquittoCredentials(MosquittoFiles(settings, "lab"), list)


def lines(folder: Path) -> list[str]:
    return (folder / "mosquitto.conf").read_text().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "broker").mkdir()
    return tmp_path / "broker"


def test_the_certificate_and_its_key_are_in_one_file_that_nobody_else_reads(tmp_path: Path, folder: Path) -> None:
    own = pair(tmp_path, "own")
    credentials(folder, own).refresh()
    assert {f"certfile {folder}/tls.pem", f"keyfile {folder}/tls.pem"} <= set(lines(folder))
    assert (folder / "tls.pem").stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "tls.pem")
    access = credentials(folder, own).access("cam-1", "pw")
    assert access.ca == own.certificate.read_text(), "devices pin it"


def test_another_certificate_is_trusted_by_the_systems_authorities(tmp_path: Path, folder: Path) -> None:
    own, other = pair(tmp_path, "own"), pair(tmp_path, "other")
    found = credentials(folder, own, other=other)
    found.refresh()
    assert other.certificate.read_text().strip() in (folder / "tls.pem").read_text()
    assert found.access("cam-1", "pw").ca is None


@pytest.mark.parametrize(
    ("host", "line"),
    [("localhost", "listener 8883 localhost"), ("127.0.0.1", "listener 8883 127.0.0.1"),
     ("fleet.example", "listener 8883"), ("192.0.2.7", "listener 8883")],
)  # fmt: skip
def test_a_public_name_is_listened_to_everywhere_and_loopback_there_alone(
    tmp_path: Path, folder: Path, host: str, line: str
) -> None:
    credentials(folder, pair(tmp_path, "own"), host=host).refresh()
    assert line in lines(folder)


def test_no_key_stays_of_a_time_with_tls(tmp_path: Path, folder: Path) -> None:
    credentials(folder, pair(tmp_path, "own")).refresh()
    plain = BrokerSettings(Provider.MOSQUITTO, login=(MANAGER, "secret"), mosquitto=MosquittoFolder(folder))
    MosquittoFiles(plain, "lab").write([])
    assert not (folder / "tls.pem").exists()
    assert not [line for line in lines(folder) if "tls.pem" in line]


def test_half_of_a_certificate_is_not_taken_up_and_the_one_of_before_stays(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = pair(tmp_path, "own"), pair(tmp_path, "other")
    found = credentials(folder, own)
    found.refresh()
    before = (folder / "tls.pem").read_bytes()
    own.private_key.write_bytes(other.private_key.read_bytes())
    with pytest.raises(EnvironmentFailure, match=r"own\.key: expected the private key of .*own\.pem"):
        found.renew_certificate()
    found.refresh()
    assert (folder / "tls.pem").read_bytes() == before
    assert "certificate not taken up" in caplog.text
    (folder / "tls.pem").unlink()
    own.private_key.unlink()
    with pytest.raises(EnvironmentFailure, match="No such file"):
        found.refresh()


def test_a_file_that_cannot_be_read_is_replaced(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, whole = credentials(folder, pair(tmp_path, "own")), Path.read_bytes
    found.refresh()
    before = (folder / "tls.pem").stat().st_ino

    def read(path: Path) -> bytes:
        if path.name == "tls.pem" and path.stat().st_ino == before:
            raise PermissionError(13, "Permission denied")  # as of root's file, to anybody else
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    found.renew_certificate()
    assert (folder / "tls.pem").stat().st_ino != before
    assert found.files.is_current()


def test_a_key_of_an_unknown_kind_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise UnsupportedAlgorithm("1.2.3.4")

    own = pair(tmp_path, "own")
    monkeypatch.setattr(tls_pair, "load_pem_private_key", unknown)
    with pytest.raises(EnvironmentFailure, match=r"own\.key: expected a key of RSA or an elliptic curve, found"):
        tls_pair.read_pair(own)


@pytest.mark.service
def test_a_running_mosquitto_shows_a_renewed_certificate_once_it_is_told(
    tmp_path: Path, folder: Path, mosquitto: Path
) -> None:
    port = free_port()
    own, following = pair(tmp_path, "own"), pair(tmp_path, "following")
    found = credentials(folder, own, port=port)
    found.refresh()
    with MosquittoProcess(mosquitto, folder, port=port):
        manager = found.files.broker.manager_access()
        assert probe_login(manager, timeout_s=5.0) is ProbeAnswer.LET_IN
        own.private_key.write_bytes(following.private_key.read_bytes())
        own.certificate.write_bytes(following.certificate.read_bytes())
        found.renew_certificate()
        renewed = replaced(manager, ca=following.certificate.read_text())
        assert probe_login(renewed, timeout_s=5.0) is ProbeAnswer.LET_IN
        assert probe_login(manager, timeout_s=5.0) is ProbeAnswer.SILENT, "the one of before is not shown any more"


# paho leaves a socket whose handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.service
def test_a_broker_without_tls_where_it_was_asked_for_is_one_clear_line(
    tmp_path: Path, folder: Path, mosquitto: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    write_open_configuration(folder, port=port)
    conf = (folder / "mosquitto.conf").read_text()
    found = credentials(folder, pair(tmp_path, "own"), port=port, host="127.0.0.1")
    with MosquittoProcess(mosquitto, folder, port=port) as process:
        (folder / "pid").write_text(str(process.pid))
        with pytest.raises(EnvironmentFailure, match=r"answers without TLS, expected mqtts://: restart it with"):
            found.refresh()
        assert conf not in (folder / "mosquitto.conf").read_text()
        access = BrokerAccess(host="127.0.0.1", port=port, tls=True, username=MANAGER, password="secret", ca=None)
        link = BrokerConnection(access, fleet="lab", client_id="m", receive=lambda *_: None)
        link.start()
        eventually(lambda: "broker_without_tls" in caplog.text, "the manager says what is wrong")
        eventually(lambda: link.connection > 2, "it goes on trying")
        link.stop()
        gc.collect()
    assert caplog.text.count("broker_without_tls") == 1
    assert "secret" not in (folder / "mosquitto.log").read_text()
