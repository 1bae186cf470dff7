"""The one HTTPS client, against a small server: connections are kept, and what is cut off is told apart."""

from __future__ import annotations

import ssl
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgemm import __version__
from edgemm.errors import EnvironmentFailure, UnreachableError
from edgemm.transport.https import PinnedClient, refusal
from edgemm.transport.patience import HttpPatience
from edgemm.transport.refusal import NOT_OURS, ErrorDetail
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from simulators.hostile_server import HostileServer

PATIENCE = HttpPatience(connect_timeout_s=5, read_timeout_s=5, repeat=True)
REFUSED = b'{"error":{"code":"conflict","message":"twice","hint":"once"}}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[int, str | None, str | None]]

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.seen.append((self.client_address[1], self.headers["Authorization"], self.headers["User-Agent"]))
        status, body = {
            "/hello": (200, b"hello"),
            "/moved": (302, b""),
            "/refused": (409, REFUSED),
            "/proxy": (502, b"<html>"),
            "/cut": (200, b"half"),
        }[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (self.path == "/cut")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/cut"


@pytest.fixture
def url() -> Iterator[str]:
    _Handler.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(url: str) -> Iterator[PinnedClient]:
    client = PinnedClient(url, tls_fingerprint=None, patience=PATIENCE, bearer="b")
    yield client
    client.close()


def _read(client: PinnedClient, address: str) -> bytes:
    with client.open("GET", address) as response:
        return response.read(max_bytes=1024)


def test_requests_bear_the_token_and_share_a_connection(client: PinnedClient) -> None:
    assert [_read(client, "/hello") for _ in range(3)] == [b"hello"] * 3
    assert len({port for port, *_ in _Handler.seen}) == 1
    assert {tuple(rest) for _, *rest in _Handler.seen} == {("Bearer b", f"edgemm/{__version__}")}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/hello", None),
        ("/refused", ErrorDetail(code="conflict", message="twice", hint="once")),
        ("/proxy", NOT_OURS),
        ("/moved", NOT_OURS),
    ],
)
def test_a_refusal_is_read_once_for_everybody(client: PinnedClient, address: str, said: ErrorDetail | None) -> None:
    with client.open("GET", address) as response:
        assert refusal(response) == said


def test_an_answer_that_breaks_off_may_come_whole_later(client: PinnedClient) -> None:
    with pytest.raises(UnreachableError, match="the connection broke"):
        _read(client, "/cut")


def test_an_answer_that_is_too_long_is_not_kept(client: PinnedClient) -> None:
    with pytest.raises(EnvironmentFailure, match="more than 4 bytes"), client.open("GET", "/hello") as response:
        response.read(max_bytes=4)


def test_a_server_that_speaks_no_tls_of_today_is_told_in_words(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=["localhost"], now=datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with HostileServer("silent", tls=context) as server:
        client = PinnedClient(server.url, tls_fingerprint=fingerprint(certificate), patience=PATIENCE)
        said = r"expected TLS 1\.2 or later, the handshake failed \([a-z0-9 ]+\); is it a fleet manager\?$"
        with pytest.raises(UnreachableError, match=said), client.open("GET", "/"):
            pass
        assert not server.asked.is_set()
