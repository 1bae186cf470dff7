"""Clients that reset their connection at any moment: no traceback, and no place or thread that stays taken."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgemm.transport.request_head import Head
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.trust.certificate import create_certificate
from simulators.resetting import cuts, reset_after, reset_in_handshake
from simulators.waiting import eventually
from tests.unit.fleet.http.raw_clients import Application, listening

MOST = 6
BODY = bytes(200_000)
GET = b"GET /large/a HTTP/1.1\r\nHost: x\r\n\r\n"
FILE = b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + BODY
UPLOAD = b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + BODY
EXPECTED = b"PUT /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n"
UNREAD = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + BODY
BAD = b"NONSENSE\r\n\r\n" + BODY
AHEAD = GET * 3


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    names = {"certificate": tmp_path / "server.crt", "private_key": tmp_path / "server.key"}
    if not request.param:
        names = {}
    else:
        create_certificate(*names.values(), names=["localhost"], now=datetime.now(UTC))
    return names


def lane_of(head: Head, _: str) -> Lane:
    return Lane.UPLOADS if head.method == "PUT" else Lane.PEOPLE


def test_a_reset_logs_no_traceback(tls: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = Application()
    file = tmp_path / "blob"
    file.write_bytes(bytes(3 << 20))
    app.file = str(file)
    with listening(app, lane_of=lane_of, **tls) as server:
        reset_in_handshake(server.port, most=MOST)
        for said in (GET, FILE, POST, UPLOAD, EXPECTED, UNREAD, BAD, AHEAD):
            for part in cuts(said, most=MOST):
                for wait_s, read in ((0.0, 0), (0.003, 0), (0.01, 100)):
                    reset_after(server.port, part, tls=bool(tls), wait_s=wait_s, read=read if part == said else 0)
        conversations = server._conversations
        assert conversations is not None
        eventually(lambda: not conversations.peers, "every connection is closed")
    assert [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR] == []
