"""Requests that a device cannot answer: a 4xx with `{"error": …}`, and the next good one is answered."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from simulators.waiting import eventually
from tests.e2e.damaged import good_bundle
from tests.e2e.fleets import X
from tests.e2e.processes import Place, Programs

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
INFER = "/v2/models/tiny/infer"


class Served:
    """`edgemm run` on one bundle."""

    def __init__(self, programs: Programs) -> None:
        program = programs.start("run", "run", good_bundle(programs.place.folder), "--port", "0")
        self.address = program.wait_for(r"(http://[\d.:]+)")
        self.http = urllib3.PoolManager(retries=False, timeout=60.0)
        self.logs = programs.logs
        ready = f"{self.address}/v2/health/ready"
        eventually(lambda: self.http.request("GET", ready).status == 200, "the model is ready")

    def post(self, path: str, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        """Send a body."""
        return self.http.request("POST", self.address + path, body=body, headers=headers)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model that is served on its own."""
    with Programs(Place.make(tmp_path_factory.mktemp("served"))) as programs:
        yield Served(programs)


def _infer(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]} | changes
    return json.dumps({"inputs": [tensor]}).encode()


BODIES = {
    "malformed": (INFER, b'{"inputs": ['),
    "empty": (INFER, b""),
    "not UTF-8": (INFER, b"\xff\xfe{}"),
    "no object": (INFER, b"[]"),
    "deep nesting": (INFER, b"[" * 100_000),
    "no inputs": (INFER, b"{}"),
    "wrong dtype": (INFER, _infer(datatype="INT64")),
    "unknown dtype": (INFER, _infer(datatype="FP99")),
    "wrong shape": (INFER, _infer(shape=[1, 5], data=[1, 2, 3, 4, 5])),
    "wrong rank": (INFER, _infer(shape=[4])),
    "shape and data disagree": (INFER, _infer(data=[1, 2, 3])),
    "negative shape": (INFER, _infer(shape=[-1, 4])),
    "huge shape": (INFER, _infer(shape=[2**40, 4])),
    "text for numbers": (INFER, _infer(data=["a", "b", "c", "d"])),
    "too large a number": (INFER, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1e999,2,3,4]}]}'),
    "wrong name": (INFER, _infer(name="y")),
    "people: malformed": ("/predict", b"{"),
    "people: empty": ("/predict", b""),
    "people: wrong shape": ("/predict", b'{"inputs": [[1, 2]]}'),
    "people: ragged": ("/predict", b'{"inputs": [[1, 2, 3, 4], [1, 2]]}'),
    "people: text": ("/predict", b'{"inputs": "hello"}'),
    "people: no such input": ("/predict", b'{"inputs": {"y": [[1, 2, 3, 4]]}}'),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_cannot_be_answered_is_400(served: Served, case: str) -> None:
    path, body = BODIES[case]
    _refused(served, served.post(path, body), 400)


@pytest.mark.parametrize("size", [0, 12, 15, 17, 2**31, -1])
def test_a_wrong_count_of_bytes_is_400(served: Served, size: int) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor]}).encode()
    answer = served.post(INFER, header + bytes(12), **{"Inference-Header-Content-Length": str(len(header))})
    _refused(served, answer, 400)


@pytest.mark.parametrize("length", ["-1", "abc", "99999999999999"])
def test_a_wrong_header_length_is_400(served: Served, length: str) -> None:
    _refused(served, served.post(INFER, _infer(), **{"Inference-Header-Content-Length": length}), 400)


def test_an_unknown_model_version_or_path_is_404(served: Served) -> None:
    for path in ("/v2/models/nope/infer", "/v2/models/tiny/versions/9.9.9/infer", "/predict/nope"):
        _refused(served, served.post(path, _infer()), 404)
    assert served.http.request("GET", served.address + "/nope").status == 404


def test_a_body_over_the_limit_is_413(served: Served) -> None:
    _refused(served, served.post("/predict", b" " * (33 * 2**20)), 413)


def test_a_claim_of_10_gb_is_refused_before_it_is_sent(served: Served) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n{")
        assert connection.recv(1024).startswith(b"HTTP/1.1 413 ")


def test_a_compressed_body_that_grows_over_the_limit_is_refused(served: Served) -> None:
    import gzip

    answer = served.post(INFER, gzip.compress(b" " * (64 * 2**20)), **{"Content-Encoding": "gzip"})
    assert answer.status in {400, 413, 415}, answer.data
    _refused(served, answer, answer.status)


def _refused(served: Served, answer: urllib3.BaseHTTPResponse, status: int) -> None:
    assert answer.status == status, answer.data
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()
    assert set(error) == {"error"}
    assert len(error["error"]) > 10
    assert "Traceback" not in error["error"]
    good = served.http.request("POST", served.address + "/predict", json={"inputs": X})
    assert good.status == 200, good.data
