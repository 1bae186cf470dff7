"""Where connections or file descriptors run out, those that nobody uses are closed, and the next client is answered."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgemm_runtime.http.descriptors import allowed_connections
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.sweep import SPARED_S
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.models import INPUT, make_bundle
from simulators.v2_client import encode_request
from simulators.waiting import eventually

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: pi\r\n\r\n"
OK = b"HTTP/1.1 200 OK"
MANY = 12
LIMITS = ServingLimits(max_connections=MANY, idle_connection_s=600, head_s=600, request_s=600)
"""Nothing ends by its age within a test."""


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def is_answered(client: socket.socket) -> bool:
    client.sendall(HEALTH)
    return client.recv(4096).startswith(OK)


def idle(client: socket.socket) -> None:
    assert is_answered(client)


def half_a_head(client: socket.socket) -> None:
    client.sendall(HEALTH[:-2])


def stuck_body(client: socket.socket) -> None:
    client.sendall(b"POST /predict HTTP/1.1\r\nHost: pi\r\nContent-Length: 99999\r\n\r\n[")


def unread_answer(client: socket.socket) -> None:
    body, length = encode_request({INPUT: np.zeros((400_000, 4), np.float32)}, binary=True)
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: pi\r\nInference-Header-Content-Length: {length}\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.mark.parametrize("use", [idle, half_a_head, stuck_body, unread_answer])
def test_the_next_client_is_answered(registry: ModelRegistry, use: object) -> None:
    assert callable(use)
    with ModelServer(registry, limits=LIMITS) as server, ExitStack() as stack:
        for _ in range(MANY):
            use(stack.enter_context(connect(server.port)))
        for _ in range(3):
            assert is_answered(stack.enter_context(connect(server.port)))


def test_those_that_were_idle_for_longest_are_closed_first(registry: ModelRegistry) -> None:
    with ModelServer(registry, limits=LIMITS) as server, ExitStack() as stack:
        first = [stack.enter_context(connect(server.port)) for _ in range(MANY)]
        for client in first:
            idle(client)
        time.sleep(SPARED_S + 0.1)  # all may be closed by now
        used = first[:2]
        for client in used:
            idle(client)
        assert is_answered(stack.enter_context(connect(server.port)))
        closed = first[2:10]
        for client in closed:
            assert client.recv(1) == b""
        assert all(map(is_answered, first[10:]))
        assert all(map(is_answered, used))


def test_a_connection_that_is_answered_is_never_closed(registry: ModelRegistry) -> None:
    body = b"[[1,2,3,4]]" + b" " * 400_000
    with ModelServer(registry, limits=LIMITS) as server, ExitStack() as stack:
        sending = stack.enter_context(connect(server.port))
        head = f"POST /predict HTTP/1.1\r\nHost: pi\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        sending.sendall(head + body[:-1])
        for _ in range(3 * MANY):
            assert is_answered(stack.enter_context(connect(server.port)))
        sending.sendall(body[-1:])
        assert sending.recv(4096).startswith(OK)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    taken: list[int] = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_idle_connections_make_room(registry: ModelRegistry) -> None:
    with ModelServer(registry) as server, ExitStack() as stack:
        held = [stack.enter_context(connect(server.port)) for _ in range(3)]
        for client in held:
            idle(client)
        newcomers = [stack.enter_context(socket.socket()) for _ in range(2)]
        with no_descriptors():
            for client in newcomers:
                client.settimeout(60)
                client.connect(("127.0.0.1", server.port))
                assert is_answered(client)


def test_without_descriptors_clients_wait_and_are_answered_later(
    registry: ModelRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with ModelServer(registry) as server, socket.socket() as client:
        with no_descriptors():
            client.settimeout(60)
            client.connect(("127.0.0.1", server.port))
            client.sendall(HEALTH)
            eventually(lambda: "cannot take a client" in caplog.text, "it is told")
        assert client.recv(4096).startswith(OK)
    assert caplog.text.count("cannot take a client") == 1


def test_the_limit_of_descriptors_bounds_the_connections() -> None:
    assert allowed_connections(256, limit=1024, in_use=20) == 256
    assert allowed_connections(256, limit=64, in_use=15) == 28
    assert allowed_connections(256, limit=256, in_use=20) == 172
    assert allowed_connections(16, limit=20, in_use=20) == 4


@pytest.mark.slow
def test_few_descriptors_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "tiny-1.0.0.edgemm"
    make_bundle(path)
    command = [
        "sh",
        "-c",
        'ulimit -n 64; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "edgemm",
        "run",
        str(path),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            while (found := re.search(r"is served at http://[\d.]+:(\d+)", said)) is None:
                line = process.stdout.readline()
                assert line, said
                said += line
            port = int(found[1])
            assert "room for fewer connections" in said
            with ExitStack() as stack:
                for _ in range(100):
                    stack.enter_context(connect(port))
                for _ in range(3):
                    assert is_answered(stack.enter_context(connect(port)))
                spare = 64 - sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
                assert spare >= 12, "models can still be loaded"
        finally:
            process.terminate()
            rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    assert "Traceback" not in rest
