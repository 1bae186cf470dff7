"""The Open Inference Protocol v2, as its own client calls it and as a hostile one does."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from edgemm.errors import EngineError
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceAnswer, DeviceClient
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from simulators.v2_client import encode_request
from tests.unit.runtime.conftest import LIMITS, Connect

EXTENSIONS = ["binary_tensor_data", "statistics", "model_configuration", "sequence"]
DENSE = Dense.random(0)
X = np.random.default_rng(3).uniform(-1, 1, (2, 4)).astype(np.float32)
INFER = "/v2/models/tiny/infer"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]} | changes


def infer_input(*, binary: bool) -> triton.InferInput:
    value = triton.InferInput("x", list(X.shape), "FP32")
    value.set_data_from_numpy(X, binary_data=binary)
    return value


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_infers(
    server: ModelServer, binary_in: bool, binary_out: bool | None, compression: str | None
) -> None:
    outputs = None if binary_out is None else [triton.InferRequestedOutput("scores", binary_data=binary_out)]
    with triton.InferenceServerClient(server.address.removeprefix("http://")) as client:
        result = client.infer(
            "tiny",
            [infer_input(binary=binary_in)],
            outputs=outputs,
            request_id="r-1",
            request_compression_algorithm=compression,
            timeout=1_000_000,
        )
    assert np.allclose(result.as_numpy("scores"), DENSE.predict(X), atol=1e-5)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r-1", "tiny", "1.0.0")


def test_tritonclient_reads_health_and_metadata(server: ModelServer) -> None:
    with triton.InferenceServerClient(server.address.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", "1.0.0")
        assert not client.is_model_ready("tiny", "2.0.0")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == EXTENSIONS
        assert client.get_model_metadata("tiny") == {
            "name": "tiny",
            "versions": ["1.0.0"],
            "platform": "litert_tflite",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
        }


def test_tritonclient_sees_errors_as_such(server: ModelServer) -> None:
    with triton.InferenceServerClient(server.address.removeprefix("http://")) as client:
        with pytest.raises(InferenceServerException, match="no model 'a/b' is served here; served: tiny"):
            client.infer("a/b", [infer_input(binary=True)])
        with pytest.raises(InferenceServerException, match=r"serves version 1\.0\.0, not '7'"):
            client.infer("tiny", [infer_input(binary=True)], model_version="7")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_lists_only_the_extensions_that_are_here(client: DeviceClient, path: str) -> None:
    assert client.get(path).json["extensions"] == EXTENSIONS


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny/versions/1.0.0/infer"])
@pytest.mark.parametrize("nested", [True, False])
def test_json_in_json_out(client: DeviceClient, path: str, nested: bool) -> None:
    body, _ = encode_request({"x": X}, nested=nested)
    reply = client.post(path, data=body)
    assert reply.headers["Content-Type"] == "application/json"
    [output] = reply.json["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [2, 3])
    assert np.allclose(np.reshape(output["data"], (2, 3)), DENSE.predict(X), atol=1e-5)


def test_the_value_of_an_output_wins_over_that_of_the_request(client: DeviceClient) -> None:
    message = {"inputs": [tensor()], "parameters": {"binary_data_output": True}}
    assert "Inference-Header-Content-Length" in client.post(INFER, json=message).headers
    message["outputs"] = [{"name": "scores", "parameters": {"binary_data": False}}]
    assert "data" in client.post(INFER, json=message).json["outputs"][0]


def test_nan_goes_in_and_out_in_binary_and_is_null_in_json(client: DeviceClient) -> None:
    body, length = encode_request({"x": X * np.float32(np.nan)}, binary=True)
    headers = {"Inference-Header-Content-Length": str(length)}
    reply = client.post(INFER, data=body, headers=headers)
    values = np.frombuffer(reply.data[int(reply.headers["Inference-Header-Content-Length"]) :], "<f4")
    assert np.isnan(values).all()
    plain = client.post(
        INFER, data=body.replace(b'"binary_data_output":true', b'"binary_data_output":null'), headers=headers
    )
    assert plain.json["outputs"][0]["data"] == [None] * 6


BAD_MESSAGES = {
    "an unknown input": ({"inputs": [tensor(name="y")]}, "unknown input 'y'; the model takes x float32[-1, 4]"),
    "no input": ({"inputs": []}, "'x' is missing"),
    "no inputs key": ({}, "inputs is missing"),
    "an input twice": ({"inputs": [tensor(), tensor()]}, "'x' is given twice"),
    "a wrong datatype": ({"inputs": [tensor(datatype="INT64")]}, "expected datatype FP32, found INT64"),
    "text": ({"inputs": [tensor(datatype="BYTES", data=["a"] * 4)]}, "expected datatype FP32, found BYTES"),
    "a wrong shape": ({"inputs": [tensor(shape=[1, 5])]}, "expected shape [-1, 4], found [1, 5]"),
    "a wrong rank": ({"inputs": [tensor(shape=[4])]}, "expected shape [-1, 4], found [4]"),
    "a negative shape": ({"inputs": [tensor(shape=[-1, 4])]}, "found [-1, 4], of which a length is negative"),
    "an empty batch": ({"inputs": [tensor(shape=[0, 4], data=[])]}, "found [0, 4], which has no values"),
    "a huge shape": ({"inputs": [tensor(shape=[10**12, 4])]}, "expected 4,000,000,000,000 values, found 4"),
    "too few values": ({"inputs": [tensor(data=[1, 2, 3])]}, "expected 4 values, found 3"),
    "words": ({"inputs": [tensor(data=["a", "b", "c", "d"])]}, "expected float32 values"),
    "nulls": ({"inputs": [tensor(data=[None] * 4)]}, "expected float32 values"),
    "ragged data": ({"inputs": [tensor(shape=[2, 4], data=[[1, 2], [3]])]}, "expected float32 values of one shape"),
    "transposed data": ({"inputs": [tensor(data=[[1], [2], [3], [4]])]}, "expected shape [1, 4], found [4, 1]"),
    "too deep data": ({"inputs": [tensor(data=[[[1, 2, 3, 4]]])]}, "found 3 levels"),
    "a value that float32 cannot hold": ({"inputs": [tensor(data=[1e39, 0, 0, 0])]}, "1e+39 is out of the range"),
    "no data": ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}]}, "found neither"),
    "an unknown output": ({"inputs": [tensor()], "outputs": [{"name": "y"}]}, "unknown output 'y'"),
    "an output twice": ({"inputs": [tensor()], "outputs": [{"name": "scores"}] * 2}, "asked for twice"),
    "shared memory": ({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, "'shared_memory_region'"),
    "classification": (
        {"inputs": [tensor()], "outputs": [{"name": "scores", "parameters": {"classification": 2}}]},
        "'classification'",
    ),
    "a number as id": ({"inputs": [tensor()], "id": 7}, "id: expected a text or null, found an integer"),
}


def check_error(reply: DeviceAnswer, status: int, message: str) -> None:
    assert reply.status_code == status
    assert reply.headers["Content-Type"] == "application/json"
    assert list(reply.json) == ["error"]
    assert message in reply.json["error"]


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_bad_message_is_400_and_says_what_was_expected(client: DeviceClient, case: str) -> None:
    message, expected = BAD_MESSAGES[case]
    check_error(client.post(INFER, json=message), 400, expected)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 50_000, b'{"inputs": [{"name": "x", "shape": [1, 4], ',
        b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[NaN,1,2,3]}]}',
        b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[Infinity,1,2,3]}]}',
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_of_the_protocol_is_400(client: DeviceClient, body: bytes) -> None:
    check_error(client.post(INFER, data=body), 400, "not JSON of the Open Inference Protocol")


@pytest.mark.parametrize(
    ("length", "size", "tail", "message"),
    [
        (None, 16, b"", "expected 16 bytes after the JSON, found 0"),
        (None, 12, b"\0" * 12, "expected binary_data_size 16, found 12"),
        (None, "16", b"\0" * 16, 'expected binary_data_size 16, found "16"'),
        (None, True, b"\0", "expected binary_data_size 16, found true"),
        (None, 16, b"\0" * 15, "expected 16 bytes after the JSON, found 15"),
        (None, 16, b"\0" * 17, "bytes of JSON and tensors"),
        ("-1", 16, b"\0" * 16, "Inference-Header-Content-Length"),
        ("9999", 16, b"\0" * 16, "Inference-Header-Content-Length"),
        ("ten", 16, b"\0" * 16, "Inference-Header-Content-Length"),
        ("3", 16, b"\0" * 16, "not JSON of the Open Inference Protocol"),
    ],
)
def test_binary_tensors_of_another_length_are_400(
    client: DeviceClient, length: str | None, size: object, tail: bytes, message: str
) -> None:
    head = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}]}
    ).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    check_error(client.post(INFER, data=head + tail, headers=headers), 400, message)


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        ("gzip", b"plain", 400, "the body is not gzip"),
        ("deflate", zlib.compress(b"{}")[:-2], 400, "cut short"),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400, "something follows it"),
        ("br", b"x", 400, "expected gzip or deflate, found 'br'"),
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0), 413, "larger than 100,000 bytes after decompression"),
    ],
)
def test_compressed_bodies_that_are_damaged_or_bombs(
    client: DeviceClient, encoding: str, body: bytes, status: int, message: str
) -> None:
    check_error(client.post(INFER, data=body, headers={"Content-Encoding": encoding}), status, message)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", INFER, 405, " takes "),
        ("POST", "/v2/models/tiny", 405, " takes "),
        ("POST", "/v2/models/a/b/c/infer", 404, "no model 'a/b/c' is served here; served: tiny"),
        ("GET", "/v2/models/a/b/versions/2", 404, "no model 'a/b'"),
        ("GET", "/v2/models/tiny/versions/2.0.0", 404, "serves version 1.0.0, not '2.0.0'"),
        ("GET", "/nowhere", 404, "nothing is at /"),
        ("POST", "/v2/repository/nothing", 404, "nothing is at /"),
    ],
)
def test_wrong_paths_and_methods_have_the_same_form(
    client: DeviceClient, method: str, path: str, status: int, message: str
) -> None:
    check_error(client.open(path, method=method, data=b"{}"), status, message)


def test_a_body_over_the_limit_is_413(client: DeviceClient) -> None:
    check_error(client.post(INFER, data=b" " * 100_001), 413, "larger than 100,000 bytes")


@pytest.mark.parametrize("size", [100_001, 150_000])
def test_a_body_over_the_limit_is_413_on_the_wire(server: ModelServer, size: int) -> None:
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", INFER, body=b" " * size)
    reply = connection.getresponse()
    assert (reply.status, reply.headers["Content-Type"]) == (413, "application/json")
    assert "larger than 100,000 bytes" in json.load(reply)["error"]
    connection.close()


@pytest.mark.parametrize(("size", "status"), [(100, 400), (100_001, 413), (300_000, 413)])
def test_chunked_bodies_have_the_same_limit(server: ModelServer, size: int, status: int) -> None:
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", INFER, body=iter([b" " * size]), encode_chunked=True)
    reply = connection.getresponse()
    assert (reply.status, reply.headers["Content-Type"], list(json.load(reply))) == (
        status,
        "application/json",
        ["error"],
    )
    connection.close()


def test_a_client_that_sends_on_after_a_refusal_reads_the_refusal(server: ModelServer) -> None:
    """Clients send all of a body before they look at the answer: a reset would hide it from them."""
    with socket.create_connection((server.host, server.port)) as connection:
        chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunk)
        answer = connection.makefile("rb")
        assert b" 413 " in answer.readline()
        for _ in range(20):
            connection.sendall(chunk)
        head, _, body = answer.read().partition(b"\r\n\r\n")
        assert (b"application/json" in head, list(json.loads(body))) == (True, ["error"])


def test_a_client_that_sends_for_ever_after_a_refusal_is_cut_off(registry: ModelRegistry) -> None:
    limits = replace(LIMITS, linger_s=0.2)
    with ModelServer(registry, limits=limits) as server, socket.create_connection((server.host, server.port)) as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {10 * 2**30}\r\n\r\n".encode())
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            for _ in range(2000):
                client.sendall(b" " * 1000)
                time.sleep(0.005)


def test_a_claim_of_ten_gigabytes_is_413_before_anything_is_sent(server: ModelServer) -> None:
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.putrequest("POST", INFER)
    connection.putheader("Content-Length", str(10 * 2**30))
    connection.endheaders()
    reply = connection.getresponse()
    assert (reply.status, reply.headers["Content-Type"]) == (413, "application/json")
    assert "error" in json.load(reply)
    connection.close()


def test_bytes_that_are_no_http_are_400_in_json(server: ModelServer) -> None:
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.connect()
    connection.sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    answer = connection.sock.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"Content-Type: application/json" in head
    assert "error" in json.loads(body)
    connection.close()


def test_a_server_without_an_active_model_is_live_and_not_ready(bundle_path: Path, connect: Connect) -> None:
    registry = ModelRegistry()
    client = connect(registry)
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 503
    registry.expect("tiny")
    assert client.get("/v2/health/ready").json == {"live": True, "ready": False}
    assert client.get("/v2/models/tiny/ready").status_code == 503
    check_error(client.post(INFER, data=b"{}"), 503, "not ready yet")
    activate(registry, bundle_path)
    assert client.get("/v2/health/ready").status_code == 200
    registry.expect("other")
    assert client.get("/healthz").status_code == 503


def test_an_engine_failure_is_500_in_json_and_counted(
    registry: ModelRegistry, client: DeviceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineError("LiteRT failed: out of tensors")

    monkeypatch.setattr("edgemm_runtime.engines.litert.LiteRtSession.invoke", fail)
    check_error(client.post(INFER, json={"inputs": [tensor()]}), 500, "model tiny failed: LiteRT failed")
    client.post(INFER, json={"inputs": []})
    [counters] = registry.snapshot()
    assert (counters.requests, counters.errors) == (1, 1)


def test_a_defect_of_ours_is_500_in_json_counted_and_logged(
    registry: ModelRegistry, client: DeviceClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edgemm_runtime.engines.litert.LiteRtSession.invoke", lambda *_: 1 / 0)
    check_error(client.post(INFER, json={"inputs": [tensor()]}), 500, "Internal Server Error")
    [counters] = registry.snapshot()
    assert (counters.requests, counters.errors) == (1, 1)
    assert "ZeroDivisionError" in caplog.text


def test_the_int8_variant_serves_the_same_signature(tmp_path: Path, connect: Connect) -> None:
    make_bundle(tmp_path / "b.edgemm")
    registry = ModelRegistry()
    activate(registry, tmp_path / "b.edgemm", variant="tflite:int8")
    client = connect(registry)
    assert client.get("/v2/models/tiny").json["inputs"][0]["datatype"] == "FP32"
    body, _ = encode_request({"x": X})
    values = np.reshape(client.post(INFER, data=body).json["outputs"][0]["data"], (2, 3))
    assert np.abs(values - DENSE.predict(X)).max() <= DENSE.int8_error


def test_statistics_index_and_configuration_as_tritonclient_asks_for_them(server: ModelServer) -> None:
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        for _ in range(3):
            client.infer("tiny", [infer_input(binary=True)])
        for stats in (client.get_inference_statistics("tiny"), client.get_inference_statistics()):
            [found] = stats["model_stats"]
            assert (found["name"], found["version"], found["inference_count"]) == ("tiny", "1.0.0", 3)
            assert found["inference_stats"]["compute_infer"]["ns"] > 0
        assert client.get_model_repository_index() == [
            {"name": "tiny", "version": "1.0.0", "state": "READY", "reason": ""}
        ]
        config = client.get_model_config("tiny", "1.0.0")
        assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}]
        assert "statistics" in client.get_server_metadata()["extensions"]
        with pytest.raises(InferenceServerException, match="not by clients"):
            client.load_model("tiny")


def test_tritonclients_asynchronous_client_works_unmodified(server: ModelServer) -> None:
    async def ask() -> np.ndarray:
        async with triton_aio.InferenceServerClient(f"{server.host}:{server.port}") as client:
            value = triton_aio.InferInput("x", list(X.shape), "FP32")
            value.set_data_from_numpy(X)
            assert await client.is_model_ready("tiny")
            result = await client.infer("tiny", [value])
            found: np.ndarray = result.as_numpy("scores")
            return found

    assert np.allclose(asyncio.run(ask()), DENSE.predict(X), atol=1e-5)
