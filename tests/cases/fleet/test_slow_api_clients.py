"""Clients without a token send the body of a public request one byte at a time; devices share this API.

Right: the manager answers everybody else within two seconds meanwhile, and ends such requests by a total time.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
import urllib3

from tests.unit.fleet.commands.fleets import Served, init

COUNT = 32  # more than there are threads
ENDED_S = 60
STARTS = {
    "a body": b"POST /api/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n{",
    "a head": b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nX: ",
    "a body without right": b"PUT /api/v1/blobs/"
    + b"0" * 64
    + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
    "nothing": b"",
    "no handshake": None,
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    fleet = init(tmp_path / "fleet")
    fleet.start()
    yield fleet
    if fleet.process is not None:
        fleet.stop(SIGKILL)


@pytest.mark.slow
def test_clients_that_trickle_hold_up_nobody_and_are_ended(served: Served) -> None:
    with ExitStack() as stack:
        open_ones = [
            (case, stack.enter_context(_begun(served, first))) for case, first in STARTS.items() for _ in range(COUNT)
        ]
        with urllib3.PoolManager(ca_certs=str(served.folder / "tls" / "certificate.pem"), retries=False) as pool:
            for _ in range(4):
                assert pool.request("GET", f"{served.url}/api/v1/health", timeout=10).status == 200
                pool.clear()
        until_s = time.monotonic() + ENDED_S
        while open_ones and time.monotonic() < until_s:
            open_ones = [(case, one) for case, one in open_ones if _goes_on(one, says=bool(STARTS[case]))]
            time.sleep(0.5)
        assert {case for case, _ in open_ones} == set()
    assert served.stop(SIGTERM) == 0


def _begun(served: Served, first: bytes | None) -> socket.socket:
    host, port = served.url.rpartition("/")[2].split(":")
    plain = socket.create_connection((host, int(port)), timeout=30)
    if first is None:
        plain.sendall(b"\x16\x03")
        plain.settimeout(0)
        return plain
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    connection = trust.wrap_socket(plain)
    connection.sendall(first)
    connection.settimeout(0)
    return connection


def _goes_on(connection: socket.socket, *, says: bool) -> bool:
    """Send one more byte; tell whether the manager still listens."""
    try:
        if says:
            connection.send(b" ")
        return connection.recv(4096) != b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
