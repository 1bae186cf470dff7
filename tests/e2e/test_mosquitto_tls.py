"""A fleet of other machines over Mosquitto: TLS by the generated files, and a certificate that is switched in band."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.trust.tls import pinned_context
from edgemm_fleet.trust.certificate import fingerprint
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]
LOOK_OFTEN = "[advanced.agent]\ntrust_refresh_s = 0.4\nbackoff_max_s = 1.0\n"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, scheme="https") as made:
        yield made


def test_two_devices_over_tls_follow_a_certificate_that_is_switched(fleet: Fleet, mosquitto: Path) -> None:
    port, files = free_port(), fleet.place.folder / "mosquitto"
    fleet.broker = f"mqtts://localhost:{port}"
    fleet.init().serve("--mosquitto", str(files), "--mosquitto-pid", str(files / "pid"))
    broker = fleet.programs.start("mosquitto", "-c", files / "mosquitto.conf", program=mosquitto)
    eventually((files / "pid").exists, "Mosquitto runs")
    fleet.login()
    config = fleet.place.folder / "device.toml"
    config.write_text(LOOK_OFTEN)
    token = fleet.token("--uses", "2")
    devices = [Device(fleet, name).start(token=token, options=("--config", str(config))) for name in ("one", "two")]
    for device in devices:
        eventually(device.online, f"{device.name} is online")
    old = (fleet.folder / "tls" / "certificate.pem").read_text()
    assert [json.loads((one.state / "identity.json").read_text())["broker"]["ca"] for one in devices] == [old, old]
    assert shown(port, old)

    fleet.ok("cert", "renew", "--folder", str(fleet.folder))
    for device in devices:
        device.program.wait_for("(addresses announced)")
    fleet.ok("cert", "switch", "--anyway", "--folder", str(fleet.folder))
    new = (fleet.folder / "tls" / "certificate.pem").read_text()
    pin = fingerprint(fleet.folder / "tls" / "certificate.pem")
    fleet.made["tls_fingerprint"] = pin
    assert new != old
    eventually(lambda: shown(port, new), "Mosquitto shows the new certificate")
    eventually(lambda: shown(fleet.port, new), "and so does the API")
    assert not shown(port, old)
    for device in devices:
        assert device.online(), "no connection ended"

    done = fleet.run("login", fleet.url, "--fingerprint", pin, "--token-file", "-", stdin=str(fleet.made["token"]))
    assert done.status == 0, done
    (third,) = fleet.join("three")  # its login is in the files, which Mosquitto read again
    assert json.loads((third.state / "identity.json").read_text())["broker"]["ca"] == new
    fleet.publish("1.0.0")
    fleet.rollout("1.0.0", "--group", "100%")
    assert [device.version() for device in (*devices, third)] == ["1.0.0"] * 3
    broker.terminate()
    fleet.programs.start("mosquitto again", "-c", files / "mosquitto.conf", program=mosquitto)
    eventually(lambda: shown(port, new), "Mosquitto is back")
    before = time.time()
    for device in (*devices, third):
        eventually(lambda one=device: seen_since(one.report(), before), f"{device.name} is back")  # type: ignore[misc]
    assert os.stat(files / "tls.pem").st_mode & 0o077 == 0
    assert "broker_without_tls" not in fleet.server.text


def seen_since(report: dict[str, dict[str, dict[str, float]]], at: float) -> bool:
    """Whether a device is online, and has said something since a time."""
    presence = report["device"]["presence"]
    return bool(presence["online"]) and presence["last_seen_at"] >= at


def shown(port: int, certificate: str) -> bool:
    """Whether a server shows this certificate."""
    try:
        with socket.create_connection(("localhost", port), timeout=10.0) as plain:
            pinned_context(certificate).wrap_socket(plain, server_hostname="localhost").close()
    except ssl.SSLCertVerificationError:
        return False
    except OSError:
        return False
    return True
