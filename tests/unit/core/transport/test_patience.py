"""Whatever a server does, a request ends: by its limits, or when it is interrupted."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure, UnreachableError
from edgemm.transport.https import PinnedClient
from edgemm.transport.patience import HttpPatience, Pace
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from simulators.hostile_server import MANNERS, NO_TCP, NO_TLS, HostileServer

SHORT = HttpPatience(connect_timeout_s=0.5, read_timeout_s=5.0, slow_s=0.5, min_bytes_per_s=1024, document_s=2.0)
LONG = HttpPatience(connect_timeout_s=300.0, read_timeout_s=300.0, slow_s=300.0, document_s=300.0)
ANSWERED = {"redirects to itself"}
"""What is an answer, and no wait."""
FAST = {name for name in MANNERS if "without end" in name or "fast" in name}
WAITING = sorted(MANNERS.keys() - ANSWERED - FAST)


def _read(client: PinnedClient, *, blob: bool) -> int:
    with client.open("GET", "/", blob=blob) as answer:
        return sum(len(piece) for piece in answer.pieces(max_bytes=100_000_000 if blob else 1_000_000))


@pytest.mark.parametrize("blob", [False, True], ids=["document", "blob"])
@pytest.mark.parametrize("manner", [*sorted(MANNERS.keys() - ANSWERED), NO_TLS, NO_TCP])
def test_a_request_ends_by_itself(manner: str, *, blob: bool) -> None:
    with HostileServer(manner, pause_s=0.02) as server:
        client = PinnedClient(server.url, tls_fingerprint="0" * 64, patience=SHORT)
        with pytest.raises(EnvironmentFailure) as caught:
            _read(client, blob=blob)
    assert isinstance(caught.value, UnreachableError) == (manner != "a body without end"), "the same may work later"


@pytest.mark.parametrize("manner", [*WAITING, NO_TLS])
def test_an_interrupt_ends_it_at_once(manner: str) -> None:
    with HostileServer(manner, pause_s=0.02) as server:
        client = PinnedClient(server.url, tls_fingerprint="0" * 64, patience=LONG)
        failed: list[str] = []

        def ask() -> None:
            try:
                _read(client, blob=True)
            except EnvironmentFailure as err:
                failed.append(str(err))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        assert server.asked.wait(60)
        client.interrupt()
        thread.join(60)
    assert not thread.is_alive()
    assert failed
    with pytest.raises(UnreachableError, match="interrupted"):
        _read(client, blob=True)


def test_a_name_that_is_never_found(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() and [])
    client = PinnedClient("http://localhost:1", tls_fingerprint=None, patience=SHORT)
    with pytest.raises(UnreachableError, match="timed out"):
        _read(client, blob=False)
    over.set()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, fingerprint(certificate)


@pytest.mark.parametrize("manner", ["byte by byte in the head", "byte by byte in the body", "100 Continue, fast"])
def test_the_same_over_tls(tls: tuple[ssl.SSLContext, str], manner: str) -> None:
    context, pin = tls
    patience = HttpPatience(connect_timeout_s=30, read_timeout_s=30, slow_s=0.5, document_s=2.0)
    with HostileServer(manner, pause_s=0.02, tls=context) as server:
        with pytest.raises(UnreachableError):
            _read(PinnedClient(server.url, tls_fingerprint=pin, patience=patience), blob=True)
        assert server.asked.is_set(), "it is not the handshake that failed"


def test_a_body_that_is_sent_is_given_up_when_nobody_takes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        patience = HttpPatience(connect_timeout_s=5, read_timeout_s=0.5, slow_s=0.5)
        client = PinnedClient(url, tls_fingerprint=None, patience=patience)
        headers = {"Content-Length": str(10**9)}
        with (
            pytest.raises(UnreachableError),
            client.open("PUT", "/", body=(bytes(1_000_000) for _ in range(1000)), headers=headers, blob=True),
        ):
            pass


def test_a_body_that_is_sent_over_a_slow_link_goes_for_longer_than_any_limit() -> None:
    size = 300_000
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.bind(("127.0.0.1", 0))
        slow.listen()

        def serve() -> None:
            connection, _ = slow.accept()
            with connection:
                came = 0
                while came < size:
                    came += len(connection.recv(2048))
                    time.sleep(0.005)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        patience = HttpPatience(connect_timeout_s=30, read_timeout_s=30, slow_s=0.3, min_bytes_per_s=100)
        client = PinnedClient(f"http://127.0.0.1:{slow.getsockname()[1]}", tls_fingerprint=None, patience=patience)
        body, headers = iter([bytes(size)]), {"Content-Length": str(size)}
        with client.open("PUT", "/", body=body, headers=headers, blob=True) as answer:
            assert answer.status == 204


class TestPace:
    def test_a_slow_link_is_patiently_waited_for(self) -> None:
        pace = Pace(HttpPatience(10, 30))
        pace.asked()
        pace.answered()
        for second in range(24 * 3600):
            assert pace.left_s(float(second)) > 0
            pace.waited(1.0)
            pace.moved(2000)

    def test_what_was_fast_once_has_no_credit(self) -> None:
        pace = Pace(HttpPatience(10, 30))
        pace.asked()
        pace.answered()
        pace.moved(10**9)
        for _ in range(120):
            pace.waited(1.0)
            pace.moved(1)
            if pace._waited_s < 60:
                pace.left_s(0.0)
        with pytest.raises(UnreachableError, match=r"60 bytes in 60 s, expected at least 61,440; try again"):
            pace.waited(60.0)
            pace.left_s(0.0)
            pace.moved(60)
            pace.waited(60.0)
            pace.left_s(0.0)

    def test_time_that_the_receiver_takes_is_not_the_servers(self) -> None:
        pace = Pace(HttpPatience(10, 30))
        pace.answered()
        assert pace.left_s(10_000.0) == 60.0

    def test_a_document_has_a_time_in_all(self) -> None:
        pace = Pace(HttpPatience(10, 30), until_s=300.0)
        pace.answered()
        pace.moved(10**9)
        assert pace.left_s(299.0) == 1.0
        with pytest.raises(UnreachableError, match="not whole in time"):
            pace.left_s(300.0)


def test_a_kept_connection_keeps_to_the_pace_of_each_request() -> None:
    """The second request over a connection is slow, and the first one was not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                connection.recv(65536)
                time.sleep(30)

        threading.Thread(target=serve, daemon=True).start()
        client = PinnedClient(f"http://127.0.0.1:{listener.getsockname()[1]}", tls_fingerprint=None, patience=SHORT)
        assert _read(client, blob=False) == 2
        with pytest.raises(UnreachableError, match=r"no answer in 0\.5 s"):
            _read(client, blob=False)
