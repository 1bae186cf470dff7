from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgemm.errors import EnvironmentFailure, UnreachableError
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "https://evil.example/")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello" if self.path == "/hello" else bytes(2 * 1024 * 1024))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An https server with a certificate of its own; yields its URL and the certificate's fingerprint."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients that hang up are the point here
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", certificate.fingerprint(hashes.SHA256()).hex()
    server.shutdown()
    server.server_close()
    thread.join()


def _server(url: str, fingerprint: str | None) -> FleetConnection:
    return FleetConnection(url, tls_fingerprint=fingerprint, connect_timeout_s=5, read_timeout_s=5)


def test_the_pinned_certificate_is_trusted_whatever_its_names(tls_server: tuple[str, str]) -> None:
    assert _server(*tls_server).post("/hello", b"{}") == b"hello"


def test_another_certificate_is_not(tls_server: tuple[str, str]) -> None:
    with pytest.raises(UnreachableError, match="its certificate is not the one that the token pins"):
        _server(tls_server[0], "0" * 64).post("/hello", b"{}")


def test_without_a_pin_the_certificate_must_be_public(tls_server: tuple[str, str]) -> None:
    with pytest.raises(UnreachableError):
        _server(tls_server[0], None).post("/hello", b"{}")


def test_a_redirect_is_refused(tls_server: tuple[str, str]) -> None:
    with pytest.raises(EnvironmentFailure, match="HTTP 302"):
        _server(*tls_server).post("/moved", b"{}")


def test_an_answer_without_end_is_refused(tls_server: tuple[str, str]) -> None:
    with pytest.raises(EnvironmentFailure, match="more than 1,048,576 bytes"):
        _server(*tls_server).post("/endless", b"{}")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnreachableError, match="Connection refused"):
        _server(f"http://127.0.0.1:{port}", None).post("/", b"")


def test_where_the_first_address_is_away_or_somebody_elses_the_next_is_asked(tls_server: tuple[str, str]) -> None:
    url, pin = tls_server
    connection = FleetConnection(url, tls_fingerprint=pin, connect_timeout_s=5, read_timeout_s=5)
    away = "https://127.0.0.1:1"
    connection.use([(away, pin), (url, "0" * 64), (url, pin)])
    for _ in range(2):
        with connection.open("GET", "/hello") as answer:
            assert answer.read(max_bytes=10) == b"hello"
    assert connection.url == url
    connection.use([(away, pin), (url, "0" * 64)])
    with pytest.raises(UnreachableError, match="cannot reach .*certificate is not the one"):
        connection.post("/hello", b"{}")
    connection.use([])
    assert connection.url == away
    connection.use([(url, pin)])
    connection.interrupt()
    connection.use([(url, pin)])
    with pytest.raises(UnreachableError):
        connection.post("/hello", b"{}")
