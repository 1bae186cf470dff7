"""What a client may leave out it may also send as null, in every protocol; and a byte order mark is no part of JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgemm_runtime.engines.choice import AUTO
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.management import LoopbackAddress, ManagementServer
from simulators.device_client import DeviceClient
from simulators.models import Dense

X = [[0.5, -0.5, 0.25, 1.0]]
SCORES = Dense.random(0).predict(np.array(X, np.float32)).ravel()
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X}
EVERYWHERE = ("timeout", "raw_output", "binary_data_output", "sequence_id", "sequence_start", "sequence_end", "other")
INFER, SERVING = "/v2/models/tiny/infer", "/v1/models/tiny"
NULLS: dict[str, tuple[str, dict[str, Any]]] = {
    "v2": (INFER, {"inputs": [TENSOR], "id": None, "parameters": None, "outputs": None}),
    "v2, of an input": (INFER, {"inputs": [TENSOR | {"parameters": None}]}),
    "v2, in an input": (INFER, {"inputs": [TENSOR | {"parameters": {"binary_data_size": None, "other": None}}]}),
    "v2, of an output": (INFER, {"inputs": [TENSOR], "outputs": [{"name": "scores", "parameters": None}]}),
    "v2, in an output": (
        INFER,
        {"inputs": [TENSOR], "outputs": [{"name": "scores", "parameters": {"binary_data": None, "raw": None}}]},
    ),
    "v2, in a request": (INFER, {"inputs": [TENSOR], "parameters": dict.fromkeys(EVERYWHERE)}),
    "people": ("/predict", {"inputs": X, "X": None}),
    "people, the other": ("/predict", {"inputs": None, "X": X, "model": None}),
    "v1": (f"{SERVING}:predict", {"instances": X, "inputs": None, "signature_name": None}),
    "v1, columns": (f"{SERVING}:predict", {"instances": None, "inputs": X, "signature_name": None}),
    "v1, classes": (f"{SERVING}:classify", {"examples": [{"x": X[0]}], "context": None, "signature_name": None}),
}


def numbers(found: Any) -> list[float]:
    """Every number in an answer, in order."""
    if isinstance(found, dict):
        return [n for key, value in found.items() if key not in {"shape", "top"} for n in numbers(value)]
    if isinstance(found, list):
        return [n for value in found for n in numbers(value)]
    return [found] if isinstance(found, float) else []


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
@pytest.mark.parametrize("case", NULLS)
def test_null_is_nothing(client: DeviceClient, case: str, mark: bytes) -> None:
    path, message = NULLS[case]
    for _ in range(2):  # the second time by what is remembered of the first
        answer = client.post(path, data=mark + json.dumps(message).encode())
        assert answer.status_code == 200, answer.text
        assert np.allclose(numbers(answer.json), SCORES, atol=1e-5)


def test_a_mark_before_binary_tensors_is_counted_with_the_json(client: DeviceClient) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}, "data": None}
    head = b"\xef\xbb\xbf" + json.dumps({"inputs": [tensor]}).encode()
    body = head + np.array(X, "<f4").tobytes()
    answer = client.post(INFER, data=body, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 200, answer.text
    assert np.allclose(numbers(answer.json), SCORES, atol=1e-5)


@pytest.mark.parametrize("case", ["v2", "people", "v1"])
def test_utf_16_is_named(client: DeviceClient, case: str) -> None:
    path, message = NULLS[case]
    answer = client.post(path, data=json.dumps(message).encode("utf-16"))
    assert answer.status_code == 200 or "UTF-16" in answer.json["error"]


def test_what_is_needed_may_not_be_null(client: DeviceClient) -> None:
    for path, message in (
        (INFER, {"inputs": None}),
        (INFER, {"inputs": [TENSOR | {"shape": None}]}),
        (INFER, {"inputs": [TENSOR | {"data": None}]}),
        ("/predict", {"inputs": None}),
        (f"{SERVING}:predict", {"instances": None}),
        ("/v2/feedback", {"id": None, "label": 1}),
    ):
        assert client.post(path, json=message).status_code == 400, message


def test_so_it_is_where_models_are_listed_and_loaded(
    client: DeviceClient, registry: ModelRegistry, bundle_path: Any
) -> None:
    for body in (b'{"ready": null}', b'\xef\xbb\xbf{"ready": true}'):
        assert client.post("/v2/repository/index", data=body).status_code == 200
    loader, here = Loader(registry, {"tiny": bundle_path}, policy=AUTO), LoopbackAddress("127.0.0.1", 0)
    with ManagementServer(registry, loader, here, access=Access()) as server, DeviceClient(server.address) as managing:
        for body in (b'{"parameters": null}', b'{"parameters": {"config": null, "unload_dependents": null}}'):
            assert managing.post("/v2/repository/models/tiny/unload", data=body).status_code == 200
            assert managing.post("/v2/repository/models/tiny/load", data=body).status_code == 200
