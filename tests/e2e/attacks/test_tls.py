"""Who is on the network between devices, manager and broker, and holds no key; every certificate is past its expiry."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import urllib3
from cryptography import x509

from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from simulators.door import Door
from simulators.hostile_server import HostileServer
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.attacks.attacked import AttackedFleet
from tests.e2e.processes import Done, refuses, run_edgemm

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]
_CONNECT = bytes.fromhex("101000044d5154540402003c0004") + b"evil"


class Recorder(Door):
    """Carries bytes to another port, and keeps a copy of all of them."""

    def __init__(self, to: int) -> None:
        super().__init__()
        self._to = to
        self.heard: list[bytes] = []

    def serve(self, connection: socket.socket) -> None:
        self.join(connection, self.dial(self._to), self.heard.append)


class TlsFleet(AttackedFleet):
    """A fleet over TLS with an expired certificate, and somebody who listens on both of its lines."""

    def up_over_tls(self, mosquitto: Path) -> TlsFleet:
        """Make it, serve it, and have two devices join."""
        self.init()
        self.certificate = self.folder / "tls" / "certificate.pem"
        self.private_key = self.folder / "tls" / "key.pem"
        long_ago = datetime.now(UTC) - timedelta(days=3651)
        create_certificate(self.certificate, self.private_key, names=["localhost"], now=long_ago)
        self.made["tls_fingerprint"] = fingerprint(self.certificate)
        behind = free_port()
        self.start_mosquitto(mosquitto, port=behind, more=f"certfile {self.certificate}\nkeyfile {self.private_key}\n")
        self.lines = [Recorder(self.port), Recorder(behind)]
        for line in self.lines:
            line.__enter__()
        self.device_url = f"https://localhost:{self.lines[0].port}"
        self.broker = f"mqtts://localhost:{self.lines[1].port}"
        self.serve(*self.mosquitto_options(), "--broker-ca", str(self.certificate), "-v")
        pin = str(self.made["tls_fingerprint"])
        self.ok("login", self.url, "--token", str(self.made["token"]), "--fingerprint", pin)
        self.joined()
        return self

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        for line in getattr(self, "lines", ()):
            line.__exit__()

    def context(self, folder: Path | None = None) -> ssl.SSLContext:
        """Return a server's context, with this fleet's certificate or one of its own made in a folder."""
        certificate, key = self.certificate, self.private_key
        if folder is not None:
            certificate, key = folder / "certificate.pem", folder / "key.pem"
            create_certificate(certificate, key, names=["localhost"], now=datetime.now(UTC))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def enrol_at(self, url: str, state: Path) -> Done:
        """Have a device try to join at an address."""
        return run_edgemm(
            "run", "--fleet", url, "--token", self.token(), "--port", "0", "--state-dir", state, at=self.place
        )


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[TlsFleet]:
    with TlsFleet(tmp_path_factory.mktemp("tls"), scheme="https") as fleet:
        yield fleet.up_over_tls(mosquitto)


@pytest.fixture(autouse=True)
def serving(attacked: TlsFleet) -> Iterator[None]:
    """Predictions are answered through every attack."""
    with attacked.serving():
        yield


def test_eavesdropping(attacked: TlsFleet) -> None:
    """Nothing of a bundle, a message or a credential is on the wire; who is enrolled may fetch every bundle."""
    version, device = attacked.publish_next(), attacked.victims[0]
    assert attacked.give(version, device) == ("committed", None)
    heard = [b"".join(line.heard) for line in attacked.lines]
    assert all(len(bytes_) > 10_000 for bytes_ in heard), "both lines were listened to"
    identity = device.identity
    secrets = [identity["bearer"], identity["broker"]["password"], device.id, "tiny", "edgemm/v1", "Bearer", "models/"]
    blobs = [path.read_bytes()[-64:] for path in (attacked.folder / "blobs").rglob("*") if path.is_file()]
    assert blobs
    for secret in [*(text.encode() for text in secrets), *blobs]:
        assert all(secret not in bytes_ for bytes_ in heard), secret
    digest = next(path.name for path in (attacked.folder / "blobs").rglob("*") if path.is_file())
    addresses = (f"/api/v1/blobs/{digest}", "/tuf/metadata/timestamp.json")
    assert [_status(attacked, path) for path in addresses] == [401, 401], "an outsider"
    bearer = attacked.victims[1].identity["bearer"]
    assert [_status(attacked, path, bearer) for path in addresses] == [200, 200], "any device of the fleet"


@pytest.mark.parametrize("asked", ["TLS 1.0", "TLS 1.1", "no encryption", "no certificate"])
def test_tls_downgrade(attacked: TlsFleet, asked: str) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    _weaken(client, asked)
    for line in attacked.lines:
        with socket.create_connection(("127.0.0.1", line.port)) as raw, pytest.raises((ssl.SSLError, OSError)):
            client.wrap_socket(raw).close()


@pytest.mark.parametrize("asked", ["TLS 1.0", "TLS 1.1"])
def test_an_old_server_gets_nothing(attacked: TlsFleet, asked: str, tmp_path: Path) -> None:
    """Not even with the right certificate."""
    context = attacked.context()
    _weaken(context, asked)
    with HostileServer("silent", tls=context) as server:
        refuses(attacked.enrol_at(server.url, tmp_path / "state"), 1, "expected TLS 1.2 or later")
        assert not server.asked.is_set()


def test_plaintext(attacked: TlsFleet, tmp_path: Path) -> None:
    for line, said in zip(attacked.lines, (b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n", _CONNECT), strict=True):
        with socket.create_connection(("127.0.0.1", line.port), timeout=30) as raw:
            raw.sendall(said)
            answer = raw.recv(4096)
        assert not answer.startswith((b"HTTP/1.1 2", b"\x20")), answer
    refuses(attacked.enrol_at("http://192.0.2.1:80", tmp_path / "state"), 2, "https")
    assert "plain" in attacked.run("login", "http://192.0.2.1", "--token", str(attacked.made["token"])).err


def test_other_certificate(attacked: TlsFleet, tmp_path: Path) -> None:
    """A valid one of somebody else's is refused before anything is said, by devices and at the broker."""
    with HostileServer("silent", tls=attacked.context(tmp_path)) as server:
        refuses(attacked.enrol_at(server.url, tmp_path / "state"), 1, "certificate")
        device = attacked.victim("misled")
        device.program.terminate()
        where, known = device.state / "identity.json", device.identity
        where.write_bytes(rfc8785.dumps(known | {"broker": known["broker"] | {"port": server.port}}))
        device.start().program.wait_for("(broker_unreachable .*certificate)")
        assert not server.asked.is_set(), "the password was not said"
        device.program.terminate()
        where.write_bytes(rfc8785.dumps(known))
    device.start()
    eventually(device.online, "it is back at the true broker")


def test_expired_certificates(attacked: TlsFleet) -> None:
    """Who is known by the certificate itself goes on with it: no expiry ends a fleet, and none lets anybody else in."""
    assert x509.load_pem_x509_certificate(attacked.certificate.read_bytes()).not_valid_after_utc < datetime.now(UTC)
    version = attacked.publish_next()
    device = attacked.victim("late")
    assert attacked.give(version, device) == ("committed", None)


def _weaken(context: ssl.SSLContext, asked: str) -> None:
    ciphers = {"no encryption": "eNULL", "no certificate": "aNULL"}.get(asked, "ALL")
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    version = {"TLS 1.0": ssl.TLSVersion.TLSv1, "TLS 1.1": ssl.TLSVersion.TLSv1_1}.get(asked, ssl.TLSVersion.TLSv1_2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version


def _status(fleet: TlsFleet, path: str, bearer: str | None = None) -> int:
    headers: dict[str, Any] = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    with urllib3.PoolManager(cert_reqs="CERT_NONE", assert_fingerprint=fleet.made["tls_fingerprint"]) as pool:
        return int(pool.request("GET", fleet.url + path, headers=headers, retries=False).status)
