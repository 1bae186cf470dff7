"""Whatever bytes come over the wire, the server answers or closes, goes on serving, and does not grow."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgemm_runtime.bench.measuring import peak_rss_bytes
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.serving.server import ModelServer
from simulators.models import make_bundle
from simulators.serving import serving
from simulators.v2_client import encode_request

pytestmark = pytest.mark.runtime

LIMITS = ServingLimits(max_body_bytes=100_000, head_s=0.2, linger_s=0.2, idle_connection_s=5.0)
ROWS = np.ones((1, 4), np.float32)
BINARY, LENGTH = encode_request({"x": ROWS}, binary=True)


def request(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: pi", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


GOOD = [
    request("/predict", json.dumps(ROWS.tolist()).encode()),
    request("/v2/models/tiny/infer", BINARY, f"Inference-Header-Content-Length: {LENGTH}"),
    request("/v1/models/tiny:predict", json.dumps({"instances": ROWS.tolist()}).encode()),
    b"GET /v2/health/ready HTTP/1.1\r\nHost: pi\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[1,2,3,4]\r\n0\r\n\r\n",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good request of which bytes were changed, cut out, doubled or put in."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data[start:end] = draw(st.binary(max_size=12) | st.just(bytes(data[start:end]) * 2))
    return bytes(data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    path = tmp_path_factory.mktemp("served") / "tiny"
    make_bundle(path)
    with serving(path, limits=LIMITS) as server:
        yield server


def exchange(server: ModelServer, data: bytes) -> bytes:
    """Send bytes, say that no more come, and return all that comes back."""
    with socket.create_connection((server.host, server.port), timeout=30) as client:
        answer = b""
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # what is refused may be cut off while it is still being sent
        return answer


@example(GOOD[1].replace(b"/v2/", b"/v2//"))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | damaged() | st.lists(st.sampled_from(GOOD), max_size=4).map(b"".join))
def test_any_bytes_get_an_answer_or_an_end(server: ModelServer, data: bytes) -> None:
    answer = exchange(server, data)
    statuses = [line.split(b" ")[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert all(status[:1] in b"124" and status != b"500" for status in statuses), answer
    good = exchange(server, GOOD[0])
    assert good.startswith(b"HTTP/1.1 200 "), good


def test_thousands_of_bad_requests_leave_nothing_behind(server: ModelServer) -> None:
    random = np.random.default_rng(0)

    def storm(count: int) -> None:
        for _ in range(count):
            data = bytearray(GOOD[int(random.integers(len(GOOD)))])
            data[int(random.integers(len(data)))] = int(random.integers(256))
            if b"\r\n\r\n" in data:
                exchange(server, bytes(data))

    storm(300)
    before = peak_rss_bytes()
    storm(1500)
    assert peak_rss_bytes() - before < 8 * 1024 * 1024
    assert exchange(server, GOOD[1]).startswith(b"HTTP/1.1 200 ")
    assert server.healthy


def test_good_requests_in_one_stream_are_all_answered(server: ModelServer, tmp_path: Path) -> None:
    answer = exchange(server, GOOD[0] + GOOD[1] + GOOD[2] + GOOD[3])
    assert answer.count(b"HTTP/1.1 200 OK") == 4
