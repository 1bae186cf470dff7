"""Raw integers: what clients with quantized data send and get is what the file's own engine computes by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgemm_runtime.engines.interpreter import Interpreter
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.models import Dense, make_bundle, model_file
from simulators.serving import activate
from simulators.waiting import eventually
from tests.unit.runtime.models.test_hangs import Hanging, hanging

__all__ = ["hanging"]

DENSE = Dense.random(0)
CODES = np.random.default_rng(5).integers(-128, 128, (3, 4), dtype=np.int8)
INFER = "/v2/models/tiny/infer"


def by_hand(codes: np.ndarray) -> np.ndarray:
    """Return what LiteRT alone computes of codes, as codes."""
    interpreter = Interpreter(model_content=model_file(DENSE, "tflite:int8"))
    [into], [out] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(into["index"], codes.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(into["index"], codes)
    interpreter.invoke()
    found: np.ndarray = interpreter.get_tensor(out["index"])
    assert found.dtype == np.int8
    return found


@pytest.fixture(params=[-1, 1], ids=["free batch", "batch of one in the file"])
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> ModelRegistry:
    make_bundle(path := tmp_path / "tiny-1.0.0.edgemm", batch=request.param)
    registry = ModelRegistry()
    activate(registry, path, variant="tflite:int8")
    return registry


@pytest.fixture
def server(registry: ModelRegistry) -> Iterator[ModelServer]:
    with ModelServer(registry, limits=ServingLimits(loops=1)) as server:
        yield server


@pytest.fixture
def client(server: ModelServer) -> Iterator[DeviceClient]:
    with DeviceClient(server.address) as client:
        yield client


def tensor(values: np.ndarray, datatype: str) -> dict[str, Any]:
    return {"name": "x", "shape": values.shape, "datatype": datatype, "data": values.ravel().tolist()}


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_sends_and_gets_codes_bit_for_bit(server: ModelServer, binary: bool) -> None:
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        value = triton.InferInput("x", list(CODES.shape), "INT8")
        wanted = [triton.InferRequestedOutput("scores", binary_data=binary)]
        for turn in range(3):  # the second has its header remembered
            codes = np.roll(CODES, turn)
            value.set_data_from_numpy(codes, binary_data=binary)
            found = client.infer("tiny", [value], outputs=wanted, parameters={"raw_output": True})
            assert found.get_output("scores")["datatype"] == "INT8"
            assert np.array_equal(found.as_numpy("scores"), by_hand(codes))


def test_raw_and_real_requests_side_by_side_get_each_their_own(server: ModelServer) -> None:
    real = np.array([[0.5, -0.5, 0.25, 1.0]] * 3, np.float32)
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        floats = triton.InferInput("x", [3, 4], "FP32")
        floats.set_data_from_numpy(real)
        codes = triton.InferInput("x", [3, 4], "INT8")
        codes.set_data_from_numpy(CODES)
        about = client.get_model_metadata("tiny")["outputs"][0]["parameters"]
        for _ in range(3):
            plain = client.infer("tiny", [floats]).as_numpy("scores")
            assert (plain.dtype, np.abs(plain - DENSE.predict(real)).max() <= DENSE.int8_error) == (np.float32, True)
            quantized = client.infer("tiny", [codes]).as_numpy("scores")
            steps = by_hand(CODES).astype(np.int64) - about["zero_point"]
            assert np.array_equal(quantized, (steps * about["scale"]).astype(np.float32))
            raw = client.infer("tiny", [floats], parameters={"raw_output": True}).as_numpy("scores")
            assert raw.dtype == np.int8
            steps = raw.astype(np.int64) - about["zero_point"]
            assert np.array_equal((steps * about["scale"]).astype(np.float32), plain)


def test_the_parameter_of_an_output_wins_over_that_of_the_request(client: DeviceClient) -> None:
    for of_request, of_output, datatype in ((True, False, "FP32"), (False, True, "INT8"), (None, True, "INT8")):
        message: dict[str, Any] = {
            "inputs": [tensor(CODES, "INT8")],
            "outputs": [{"name": "scores", "parameters": {"raw": of_output}}],
        }
        if of_request is not None:
            message["parameters"] = {"raw_output": of_request}
        reply = client.post(INFER, json=message)
        assert (reply.status_code, reply.json["outputs"][0]["datatype"]) == (200, datatype)


def test_metadata_tell_how_codes_and_numbers_go_together(client: DeviceClient) -> None:
    about = client.get("/v2/models/tiny").json
    [into], [out] = about["inputs"], about["outputs"]
    assert (into["datatype"], out["datatype"]) == ("FP32", "FP32")
    interpreter = Interpreter(model_content=model_file(DENSE, "tflite:int8"))
    for tensor_, [details] in ((into, interpreter.get_input_details()), (out, interpreter.get_output_details())):
        scale, zero_point = details["quantization"]
        assert tensor_["parameters"] == {
            "raw_datatype": "INT8", "scale": pytest.approx(scale), "zero_point": zero_point
        }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datatype": "UINT8"}, "expected datatype FP32, found UINT8"),
        ({"data": [128] + [0] * 11}, "x"),
        ({"data": [0.5] * 12}, "x"),
        ({"shape": [3, 5]}, "expected shape"),
    ],
)
def test_codes_that_are_none_are_refused(client: DeviceClient, changes: dict[str, Any], message: str) -> None:
    reply = client.post(INFER, json={"inputs": [tensor(CODES, "INT8") | changes]})
    assert (reply.status_code, message in reply.json["error"]) == (400, True), reply.json


@pytest.mark.parametrize("raw", [1, "true", {}])
def test_raw_is_true_or_false(client: DeviceClient, raw: object) -> None:
    of_output = {"outputs": [{"name": "scores", "parameters": {"raw": raw}}]}
    for message in (of_output, {"parameters": {"raw_output": raw}}):
        reply = client.post(INFER, json={"inputs": [tensor(CODES, "INT8")], **message})
        assert (reply.status_code, "expected true or false" in reply.json["error"]) == (400, True)


def test_a_float_variant_has_no_codes(tmp_path: Path) -> None:
    make_bundle(path := tmp_path / "tiny-1.0.0.edgemm")
    registry = ModelRegistry()
    activate(registry, path)
    with (
        ModelServer(registry) as server,
        triton.InferenceServerClient(f"{server.host}:{server.port}") as client,
    ):
        assert "parameters" not in client.get_model_metadata("tiny")["inputs"][0]
        value = triton.InferInput("x", [3, 4], "INT8")
        value.set_data_from_numpy(CODES)
        with pytest.raises(InferenceServerException, match="expected datatype FP32, found INT8"):
            client.infer("tiny", [value])
        value = triton.InferInput("x", [3, 4], "FP32")
        value.set_data_from_numpy(CODES.astype(np.float32))
        with pytest.raises(InferenceServerException, match="leave out raw"):
            client.infer("tiny", [value], parameters={"raw_output": True})


def test_raw_requests_are_counted_and_the_model_is_freed_after_them(registry: ModelRegistry) -> None:
    with ModelServer(registry) as server, triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        value = triton.InferInput("x", [3, 4], "INT8")
        value.set_data_from_numpy(CODES)
        client.infer("tiny", [value], parameters={"raw_output": True})
        [counters] = registry.snapshot()
        assert (counters.requests, counters.errors) == (1, 0)
        registry.unload("tiny", "unloaded")
        eventually(lambda: registry.in_use() == [], "no form of it holds it")


def test_a_raw_request_that_hangs_is_seen_too(registry: ModelRegistry, hanging: Hanging) -> None:
    del hanging
    with ModelServer(registry) as server, triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        value = triton.InferInput("x", [1, 4], "INT8")
        value.set_data_from_numpy(np.full((1, 4), 100, np.int8))
        with pytest.raises(InferenceServerException, match="not answer in time"):
            client.infer("tiny", [value])
        value.set_data_from_numpy(np.full((1, 4), 1, np.int8))
        assert client.infer("tiny", [value]).as_numpy("scores").shape == (1, 3)
        [counters] = registry.snapshot()
        assert counters.hangs == 1
