"""What requests hold is bounded and given back, however they end, also where the collector of cycles never runs."""

from __future__ import annotations

import gc
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.models import INPUT
from simulators.v2_client import encode_request
from simulators.waiting import eventually

MIB = 1024 * 1024
ROWS = np.full((40_000, 4), 0.5, np.float32)
JSON_ROWS = json.dumps(ROWS.tolist()).encode()
BINARY, LENGTH = encode_request({INPUT: ROWS}, binary=True)
V2, _ = encode_request({INPUT: ROWS})
OF_A_FORM = "Content-Type: multipart/form-data; boundary=b"
INFER = "/v2/models/tiny/infer"
FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.%s"\r\n\r\n%s\r\n--b--\r\n'


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return (
        "\r\n".join([f"POST {path} HTTP/1.1", "Host: pi", f"Content-Length: {size}", *headers, "", ""]).encode() + body
    )


def chunked(path: str, body: bytes, *, size: int = 10_000, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    head = f"POST {path} HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


REQUESTS = {
    "JSON": (post("/predict/tiny", JSON_ROWS), 200),
    "JSON cut short": (post("/predict/tiny", JSON_ROWS[:-5]), 400),
    "JSON of text": (post("/predict/tiny", b'["' + b"a" * MIB + b'"]'), 400),
    "JSON of another shape": (post("/predict/tiny", json.dumps(ROWS.reshape(-1, 5).tolist()).encode()), 400),
    "CSV": (post("/predict/tiny", b"1,2,3,4\n" * 40_000, "Content-Type: text/csv"), 200),
    "CSV of words": (post("/predict/tiny", b"1,2,a,4\n" * 40_000, "Content-Type: text/csv"), 400),
    "a form": (
        post("/predict/tiny", FORM % (b"json", JSON_ROWS), "Content-Type: multipart/form-data; boundary=b"),
        200,
    ),
    "a form without end": (
        post("/predict/tiny", FORM[:-7] % (b"json", JSON_ROWS), "Content-Type: multipart/form-data; boundary=b"),
        400,
    ),
    "no image": (post("/predict/tiny", b"\x89PNG" * MIB, "Content-Type: image/png"), 400),
    "v2": (post(INFER, V2), 200),
    "v2 cut short": (post(INFER, V2[:-3]), 400),
    "v2 in binary": (post(INFER, BINARY, f"Inference-Header-Content-Length: {LENGTH}"), 200),
    "v2 in binary, of no length": (post(INFER, BINARY), 400),
    "v2 in time": (post(INFER, b'{"parameters":{"timeout":9000000},' + V2[1:].replace(b'"parameters"', b'"p"')), 200),
    "v1": (post("/v1/models/tiny:predict", b'{"instances":' + JSON_ROWS + b"}"), 200),
    "v1 with NaN": (post("/v1/models/tiny:predict", b'{"instances":' + JSON_ROWS[:-1] + b",[NaN,1,1,1]]}"), 200),
    "v1 of nothing": (post("/v1/models/tiny:predict", b'{"instance":' + JSON_ROWS + b"}"), 400),
    "gzip": (post("/predict/tiny", zlib.compress(JSON_ROWS, wbits=31), "Content-Encoding: gzip"), 200),
    "gzip, damaged": (post("/predict/tiny", zlib.compress(JSON_ROWS, wbits=31)[:-9], "Content-Encoding: gzip"), 400),
    "gzip, too large": (post("/predict/tiny", zlib.compress(bytes(40 * MIB), wbits=31), "Content-Encoding: gzip"), 413),
    "in chunks": (chunked("/predict/tiny", JSON_ROWS), 200),
    "in small chunks": (chunked("/predict/tiny", JSON_ROWS[: 2**16], size=1), 400),
    "in chunks, no JSON": (chunked("/predict/tiny", JSON_ROWS[1:]), 400),
    "in chunks, malformed": (chunked("/predict/tiny", JSON_ROWS, end=b"x"), 400),
    "in chunks, and one more": (chunked("/predict/tiny", JSON_ROWS) + b"GET", 400),
    "no such model": (post("/predict/none", JSON_ROWS), 404),
    "no such path": (post("/none", JSON_ROWS), 404),
    "no such method": (post("/healthz", JSON_ROWS), 405),
    "too large": (post("/predict/tiny", b"", length=10**9), 413),
}


@contextmanager
def uncollected() -> Iterator[None]:
    """Let nothing find cycles of references."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def large_garbage() -> list[int]:
    """Return the sizes of the large bytes that only cycles still hold."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = [one for owner in gc.garbage for one in gc.get_referents(owner)]
        return [len(one) for one in found if isinstance(one, bytes | bytearray) and len(one) > 50_000]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def connect(server: ModelServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=60)


def status_of(client: socket.socket) -> int:
    """Return the status of an answer, read to its end."""
    file = client.makefile("rb")
    status = int(file.readline().split()[1])
    length = 0
    while line := file.readline().strip():
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    assert len(file.read(length)) == length
    return status


def all_given_back(server: ModelServer) -> None:
    eventually(lambda: server.memory.held_bytes == 0, "everything is given back", timeout_s=6)


@pytest.mark.parametrize("case", REQUESTS)
def test_no_cycle_keeps_a_body(registry: ModelRegistry, case: str) -> None:
    data, wanted = REQUESTS[case]
    with ModelServer(registry) as server, uncollected():
        for _ in range(2):
            with connect(server) as client:
                client.sendall(data)
                assert status_of(client) == wanted
        all_given_back(server)
        assert large_garbage() == []


@pytest.mark.parametrize("data", [post("/predict/tiny", JSON_ROWS)[:-1], chunked("/predict/tiny", JSON_ROWS, end=b"")])
def test_clients_that_go_away_leave_nothing(registry: ModelRegistry, data: bytes) -> None:
    with ModelServer(registry) as server, uncollected():
        with connect(server) as client:
            client.sendall(data)
            eventually(lambda: server.memory.held_bytes >= len(JSON_ROWS) * 0.9, "the body has come")
        all_given_back(server)
        assert large_garbage() == []


LIMITS = ServingLimits(memory_bytes=4 * MIB, max_body_bytes=32 * MIB, threads=2)


@pytest.mark.parametrize("head", ["Content-Length: 3000000", "Transfer-Encoding: chunked"])
def test_what_never_fits_is_413(registry: ModelRegistry, head: str) -> None:
    with ModelServer(registry, limits=LIMITS) as server, connect(server) as client:
        body = b"2dc6c0\r\n" + b" " * 3_000_000 if "chunked" in head else b" " * 3_000_000
        client.sendall(f"POST /predict/tiny HTTP/1.1\r\nHost: pi\r\n{head}\r\n\r\n".encode() + body)
        assert status_of(client) == 413


@pytest.mark.parametrize("case", ["JSON", "v1", "CSV", "gzip"])
def test_what_never_fits_once_it_is_read_is_413(registry: ModelRegistry, case: str) -> None:
    with ModelServer(registry, limits=LIMITS) as server:
        with connect(server) as client:
            client.sendall(REQUESTS[case][0])
            assert status_of(client) == 413
            client.sendall(post("/predict/tiny", b"[[1,2,3,4]]"))
            assert status_of(client) == 200, "smaller ones are answered on the same connection"
        all_given_back(server)


def test_bodies_that_wait_leave_room_and_others_come_back_later(registry: ModelRegistry) -> None:
    with ModelServer(registry, limits=LIMITS) as server, ExitStack() as stack:
        waiting = [stack.enter_context(connect(server)) for _ in range(4)]
        for client in waiting[:2]:
            client.sendall(post("/predict/tiny", b" " * 700_000, length=700_001))
        eventually(lambda: server.memory.held_bytes > 1_400_000, "two have come")
        for client in waiting[2:]:
            client.sendall(post("/predict/tiny", b"", length=700_001))
        statuses = [status_of(client) for client in waiting[2:]]
        assert statuses == [503, 503]
        assert server.memory.held_bytes <= LIMITS.memory_bytes // 2 + 4 * 16 * 1024
        small = stack.enter_context(connect(server))
        small.sendall(post("/predict/tiny", b"[[1,2,3,4]]"))
        assert status_of(small) == 200
        for client in waiting[:2]:
            client.sendall(b" ")
            assert status_of(client) == 400
            eventually(lambda: server.memory.held_bytes < 1_000_000, "the other one has room")


def test_answers_that_nobody_reads_are_counted_and_end(registry: ModelRegistry) -> None:
    limits = ServingLimits(memory_bytes=64 * MIB, request_s=0.5, idle_connection_s=60)
    rows = np.zeros((400_000, 4), np.float32)
    body, length = encode_request({INPUT: rows}, binary=True)
    data = post(INFER, body, f"Inference-Header-Content-Length: {length}")
    with ModelServer(registry, limits=limits) as server, ExitStack() as stack:
        clients = []
        for _ in range(2):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.connect((server.host, server.port))
            clients.append(stack.enter_context(client))
            client.sendall(data)
        eventually(lambda: server.memory.held_bytes > 4 * MIB, "an answer waits for its reader")
        all_given_back(server)


def test_connections_cost_what_is_counted(registry: ModelRegistry) -> None:
    with ModelServer(registry) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(20)]
        eventually(lambda: server.memory.held_bytes == 20 * 16 * 1024, "each connection is counted")
        for client in clients:
            client.sendall(post("/predict/tiny", b"[[1,2,3,4]]"))
            assert status_of(client) == 200
        assert server.memory.held_bytes == 20 * 16 * 1024
        for client in clients:
            client.close()
        all_given_back(server)


def test_thousands_of_requests_at_once_leave_nothing(registry: ModelRegistry) -> None:
    cases = [data for name, (data, _) in REQUESTS.items() if len(data) < 1_000_000 or name == "in chunks"]
    limits = ServingLimits(memory_bytes=24 * MIB)

    def ask(server: ModelServer, seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(60):
            with connect(server) as client:
                data = cases[random.integers(len(cases))]
                try:
                    client.sendall(data[: random.integers(len(data)) if random.random() < 0.2 else len(data)])
                    client.shutdown(socket.SHUT_WR)
                    client.recv(12)
                except OSError:
                    pass  # refused while it is still being sent

    with ModelServer(registry, limits=limits) as server, uncollected():
        threads = [threading.Thread(target=ask, args=(server, seed)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_given_back(server)
        assert large_garbage() == []
