"""TLS, an API key and a Unix socket, on the wire."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from edgemm.errors import EnvironmentFailure, InputError
from edgemm_fleet.trust.certificate import LIFETIME, create_certificate
from edgemm_runtime.commands.access_options import read_access
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import LocalConnection

ROW = json.dumps([[0.5, -0.5, 0.25, 1.0]])
KEY = "0123456789abcdef"
NOTHING = {"tls_cert": None, "tls_key": None, "api_key_file": None, "unix_socket": None}


def ask(connection: http.client.HTTPConnection, path: str = "/predict", **headers: str) -> int:
    body = ROW if path == "/predict" else None
    connection.request("POST" if body else "GET", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    reply = connection.getresponse()
    found = json.loads(reply.read() or b"{}")
    assert (reply.status == 200) or "error" in found or "ready" in found
    return reply.status


@pytest.mark.parametrize("rows", [1, 20_000])
def test_https_answers_small_and_large_bodies_and_refuses_plain_http(
    registry: ModelRegistry, tmp_path: Path, rows: int
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    access = read_access(**NOTHING | {"tls_cert": certificate, "tls_key": key})
    trust = ssl.create_default_context(cafile=str(certificate))
    with ModelServer(registry, access=access) as server:
        assert server.address.startswith("https://127.0.0.1:")
        connection = http.client.HTTPSConnection("localhost", server.port, context=trust)
        for _ in range(3):
            connection.request("POST", "/predict", json.dumps([[0.5, -0.5, 0.25, 1.0]] * rows))
            reply = connection.getresponse()
            assert reply.status == 200
            assert len(json.load(reply)["outputs"]["scores"]) == rows
        connection.close()
        plain = http.client.HTTPConnection("localhost", server.port, timeout=60)
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(plain)
        plain.close()


def test_a_client_that_never_shakes_hands_is_dropped(registry: ModelRegistry, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    access = read_access(**NOTHING | {"tls_cert": certificate, "tls_key": key})
    with (
        ModelServer(registry, access=access, limits=ServingLimits(head_s=0.1)) as server,
        socket.create_connection((server.host, server.port), timeout=60) as client,
    ):
        assert client.recv(1) == b""


def test_a_key_is_asked_for_but_by_health(registry: ModelRegistry) -> None:
    with ModelServer(registry, access=Access(api_key=KEY)) as server:
        connection = http.client.HTTPConnection(server.host, server.port)
        assert ask(connection) == 401
        assert ask(connection, X_API_Key="wrong" * 4) == 401
        assert ask(connection, path="/v2/models/tiny") == 401
        assert ask(connection, path="/v2/health/ready") == 200
        assert ask(connection, X_API_Key=KEY) == 200
        assert ask(connection, Authorization=f"Bearer {KEY}") == 200
        assert ask(connection, Authorization=f"bearer {KEY}") == 200
        assert ask(connection, Authorization=f"Basic {KEY}") == 401
        assert ask(connection, X_API_Key=f"{KEY} \t") == 200, "white space around a value is none of it"
        assert ask(connection) == 401, "what is remembered of a connection is not its key"
        connection.close()


def test_a_unix_socket_answers_beside_the_port_and_goes_with_it(registry: ModelRegistry, tmp_path: Path) -> None:
    path = tmp_path / "edgemm.sock"
    with ModelServer(registry, access=Access(unix_socket=path)) as server:
        connection = LocalConnection(path)
        assert ask(connection) == 200
        connection.close()
        port = http.client.HTTPConnection(server.host, server.port)
        assert ask(port) == 200
        port.close()
        assert path.stat().st_mode & 0o007 == 0, "others may not ask"
        with pytest.raises(EnvironmentFailure, match="another program listens"):
            ModelServer(registry, access=Access(unix_socket=path))
    assert not path.exists()


def test_the_socket_of_a_process_that_is_gone_is_replaced_and_a_file_is_not(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "edgemm.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(path))
    with ModelServer(registry, access=Access(unix_socket=path)):
        connection = LocalConnection(path)
        assert ask(connection) == 200
        connection.close()
    path.write_text("mine")
    with pytest.raises(EnvironmentFailure, match="is not a socket"):
        ModelServer(registry, access=Access(unix_socket=path))
    assert path.read_text() == "mine"


def test_options_that_cannot_work_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "short"
    text.write_text("short\n")
    for options, message in (
        ({"tls_cert": text}, "go together"),
        ({"tls_cert": text, "tls_key": text}, "expected a certificate"),
        ({"api_key_file": text}, "at least 16"),
        ({"api_key_file": tmp_path / "none"}, "cannot read the API key"),
    ):
        with pytest.raises(InputError, match=message):
            read_access(**NOTHING | options)
    monkeypatch.setenv("EDGEMM_API_KEY", KEY)
    key = read_access(**NOTHING).api_key
    assert key is not None
    assert key.matches(KEY)


def pair(folder: Path, *, days: int = 90) -> dict[str, Path]:
    """Return a new certificate that ends in so many days, and its key, as `read_access` takes them."""
    folder.mkdir(exist_ok=True)
    found = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    now = datetime.now(UTC) + timedelta(days=days) - LIFETIME
    create_certificate(found["tls_cert"], found["tls_key"], names=(), now=now)
    return found


def test_a_renewed_certificate_is_for_the_next_client_and_an_open_connection_stays(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    old, new = pair(tmp_path / "old"), pair(tmp_path / "new", days=10)
    access = read_access(**NOTHING | old)
    with ModelServer(registry, access=access) as server:
        first, second = (
            http.client.HTTPSConnection(
                "localhost", server.port, context=ssl.create_default_context(cafile=str(one["tls_cert"]))
            )
            for one in (old, new)
        )
        assert ask(first) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(second)
        second.close()
        access.renew(read_access(**NOTHING | new))
        assert ask(second) == 200
        assert ask(first) == 200, "on the connection that it has"
        seconds = re.search(r"edgemm_certificate_remaining_seconds ([\d.e+]+)", metrics(second))
        assert seconds is not None
        assert 9 < float(seconds[1]) / 86_400 <= 10
        first.close()
        second.close()


def metrics(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_a_certificate_that_has_ended_counts_below_zero_and_plain_http_has_none(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ended = pair(tmp_path, days=-2)
    with ModelServer(registry, access=read_access(**NOTHING | ended)) as server:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("localhost", server.port, context=context)
        assert re.search(r"edgemm_certificate_remaining_seconds -1728", metrics(connection))
        connection.close()
    with ModelServer(registry) as server:
        plain = http.client.HTTPConnection(server.host, server.port)
        assert "certificate" not in metrics(plain)
        plain.close()


def test_a_renewed_key_is_asked_for_from_the_next_request_on(registry: ModelRegistry) -> None:
    access = Access(api_key=KEY)
    with ModelServer(registry, access=access) as server:
        connection = http.client.HTTPConnection(server.host, server.port)
        assert ask(connection, X_API_Key=KEY) == 200
        access.renew(Access(api_key=KEY[::-1]))
        assert ask(connection, X_API_Key=KEY) == 401
        assert ask(connection, X_API_Key=KEY[::-1]) == 200
        connection.close()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c, k, other: c.write_text("rubbish"), "found no certificate in it"),
        (lambda c, k, other: c.write_bytes(c.read_bytes()[:200]), "found no certificate in it"),
        (lambda c, k, other: c.unlink(), "No such file or directory: expected a certificate"),
        (lambda c, k, other: k.unlink(), "No such file or directory: expected a certificate"),
        (lambda c, k, other: k.write_text("rubbish"), "found another file"),
        (lambda c, k, other: k.write_bytes(other.read_bytes()), "is not the key of the certificate"),
        (lambda c, k, other: k.write_bytes(encrypted(k.read_bytes())), "is encrypted"),
    ],
    ids=["rubbish", "cut", "no certificate", "no key", "key is rubbish", "another's key", "encrypted"],
)
def test_what_is_no_certificate_and_its_key_is_told_in_one_line(
    spoil: Callable[[Path, Path, Path], object], message: str, tmp_path: Path
) -> None:
    given, other = pair(tmp_path / "mine"), pair(tmp_path / "other")
    spoil(given["tls_cert"], given["tls_key"], other["tls_key"])
    with pytest.raises(InputError, match=message) as told:
        read_access(**NOTHING | given)
    assert "SSL" not in str(told.value)
    assert "\n" not in str(told.value)


def encrypted(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
