"""Which broker `serve` means by its options, and whom devices are sent to."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
from edgemm_fleet.commands.broker_options import read_broker, read_login, read_mosquitto
from edgemm_fleet.server.process import FleetProcess, ServeSettings
from edgemm_fleet.server.retention import Retention
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_fleet.trust.fleet_folder import FleetFolder


def settings_of(
    tmp_path: Path, broker: BrokerSettings, *, url: str = "https://fleet.example:8443", host: str | None = None
) -> BrokerSettings:
    if not (tmp_path / "f").exists():
        assert run(["fleet", "init", str(tmp_path / "f"), "--public-url", url]) == 0
    server = FleetProcess(FleetFolder(tmp_path / "f"), ServeSettings(host=host, broker=broker))
    return server._manager_settings().broker


def parse(
    text: str,
    *,
    device_login: str | None = None,
    mosquitto: MosquittoFolder | None = None,
    ca: Path | None = None,
) -> BrokerSettings:
    login = read_login(device_login, None, option="--device-login")
    return read_broker(text, device_login=login, mosquitto=mosquitto, ca=ca)


def test_the_embedded_broker_speaks_tls_to_everybody_under_the_public_name(tmp_path: Path) -> None:
    found = settings_of(tmp_path, parse("embedded"))
    assert (found.provider, found.host, found.number) == (Provider.EMBEDDED, "0.0.0.0", 8883)
    assert found.device_host == "fleet.example"
    assert found.files is not None
    assert found.files.certificate == tmp_path / "f" / "tls" / "certificate.pem"


def test_on_plain_loopback_the_embedded_broker_stays_there(tmp_path: Path) -> None:
    found = settings_of(tmp_path, parse("embedded"), url="http://127.0.0.1:8080")
    assert (found.host, found.number, found.files) == ("127.0.0.1", 1883, None)


def test_another_broker_with_one_login_for_all(tmp_path: Path) -> None:
    found = settings_of(tmp_path, parse("mqtts://man%40x:p%3Aw@broker.example", device_login="dev:pw"))
    assert (found.provider, found.host, found.number, found.tls) == (
        Provider.STATIC,
        "broker.example",
        8883,
        True,
    )
    assert found.login == ("man@x", "p:w")
    assert found.device_login == ("dev", "pw")


def test_a_mosquitto_with_a_login_for_each_device(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    found = settings_of(tmp_path, parse("mqtt://127.0.0.1:1885", mosquitto=read_mosquitto(tmp_path, pid_file=pid)))
    assert found.provider is Provider.MOSQUITTO
    assert found.mosquitto is not None
    assert (found.mosquitto.folder, found.host, found.number) == (tmp_path, "127.0.0.1", 1885)
    assert found.mosquitto.pid_file == pid


def test_a_mosquitto_is_told_by_a_command_where_that_is_given(tmp_path: Path) -> None:
    place = read_mosquitto(tmp_path, reload_command="podman exec 'my broker' kill -HUP 1")
    found = settings_of(tmp_path, parse("mqtt://127.0.0.1:1885", mosquitto=place))
    assert found.mosquitto is not None
    assert found.mosquitto.reload_command == ("podman", "exec", "my broker", "kill", "-HUP", "1")


def test_the_certificate_of_another_broker_goes_to_manager_and_devices(tmp_path: Path) -> None:
    certificate = tmp_path / "broker.pem"
    create_certificate(certificate, tmp_path / "broker.key", names=["broker.example"], now=datetime.now(UTC))
    broker = parse("mqtts://m:p@broker.example", device_login="dev:pw", ca=certificate)
    found = settings_of(tmp_path, broker)
    assert found.manager_access().ca == found.device_access("dev", "pw").ca == certificate.read_text()


def test_retention_holds_with_every_broker(tmp_path: Path) -> None:
    for broker in (parse("embedded"), parse("mqtts://m:p@broker.example", device_login="dev:pw")):
        retention = Retention(telemetry_s=1.0, events_s=2.0)
        settings_of(tmp_path, broker)
        server = FleetProcess(FleetFolder(tmp_path / "f"), ServeSettings(broker=broker, retention=retention))
        assert server._manager_settings().retention == retention


@pytest.mark.parametrize(("text", "port"), [("embedded", None), ("embedded:0", 0), ("embedded:1999", 1999)])
def test_the_embedded_brokers_port(text: str, port: int | None) -> None:
    assert parse(text) == BrokerSettings(port=port)
