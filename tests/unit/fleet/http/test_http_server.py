import logging
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from edgemm.errors import EnvironmentFailure, InputError
from edgemm.transport.address import is_loopback
from edgemm_fleet.http.http_server import HttpServer, HttpSettings
from edgemm_fleet.trust.certificate import create_certificate
from tests.unit.fleet.api.servers import RunningFleet, now_utc, serving
from tests.unit.fleet.http.raw_clients import Application, listening


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[RunningFleet]:
    with serving(tmp_path / "fleet", scheme="https") as running:
        yield running


def address(fleet: RunningFleet) -> tuple[str, int]:
    host, port = fleet.url.partition("://")[2].split(":")
    return host, int(port)


def test_the_certificate_names_the_servers_addresses(secure: RunningFleet) -> None:
    with urllib3.PoolManager(ca_certs=str(secure.folder.certificate), retries=False) as pool:
        assert pool.request("GET", f"{secure.url}/api/v1/health").status == 200


def test_the_certificate_stands_the_strict_checks_of_python_3_13(secure: RunningFleet) -> None:
    context = ssl.create_default_context(cadata=secure.folder.certificate.read_text())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
        assert pool.request("GET", f"{secure.url}/api/v1/health").status == 200


def test_a_client_that_connects_and_says_nothing_holds_up_nobody(secure: RunningFleet) -> None:
    silent = [socket.create_connection(address(secure)) for _ in range(3)]  # of 4 threads
    assert secure.request("GET", "/api/v1/health", timeout=60).status == 200
    for connection in silent:
        connection.close()


def test_plain_http_on_the_tls_port_is_let_go_quietly(secure: RunningFleet, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(address(secure)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(60)
        assert connection.recv(100) == b""
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert secure.request("GET", "/api/v1/health").status == 200


def test_a_port_that_is_taken_is_one_clear_line(fleet: RunningFleet) -> None:
    _, port = address(fleet)
    other = HttpServer(lambda environ, start: [], HttpSettings("127.0.0.1", port))
    with pytest.raises(EnvironmentFailure, match=f"cannot listen on 127.0.0.1:{port}: Address already in use; "):
        other.start()


def test_plain_http_is_for_loopback_only() -> None:
    with pytest.raises(InputError, match=r"plain HTTP on 0\.0\.0\.0: it is served on loopback only"):
        HttpServer(lambda environ, start: [], HttpSettings("0.0.0.0", 80))


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("pi", False)]
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_header_without_end_is_refused(fleet: RunningFleet) -> None:
    with socket.create_connection(address(fleet)) as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
        connection.settimeout(60)
        assert b" 431 " in connection.recv(200)


def test_a_renewed_certificate_is_for_new_connections_and_ends_none(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=["127.0.0.1"], now=now_utc())
    first = certificate.read_text().strip()
    with listening(Application(), certificate=certificate, private_key=key) as server:
        trust = ssl.create_default_context(cafile=certificate)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as before,
        ):
            create_certificate(certificate, key, names=["127.0.0.1"], now=now_utc())
            server.renew_certificate()
            second = ssl.get_server_certificate(("127.0.0.1", server.port)).strip()
            assert second == certificate.read_text().strip() != first
            before.sendall(b"GET /still HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answered = b""
            while piece := before.recv(4096):
                answered += piece
            assert answered.endswith(b"/still")
            key.write_text("no key")
            with pytest.raises(InputError, match="cannot serve HTTPS with"):
                server.renew_certificate()
            assert ssl.get_server_certificate(("127.0.0.1", server.port)).strip() == second


def test_an_older_tls_is_refused(secure: RunningFleet) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(address(secure)) as plain, pytest.raises(OSError, match=r"(?i)version|alert|reset"):
        old.wrap_socket(plain)
