"""Large requests and answers are right in every protocol, and what would hold up others is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from simulators import onnx_bundles
from simulators.device_client import DeviceClient
from simulators.serving import activate
from tests.unit.runtime.conftest import Connect

ROWS = np.random.default_rng(0).normal(size=(400, 640)).astype(np.float32)


@pytest.fixture
def client(tmp_path: Path, connect: Connect) -> DeviceClient:
    registry = ModelRegistry()
    onnx_bundles.make_doubling(tmp_path / "rows.edgemm", "rows", (-1, 640))
    activate(registry, tmp_path / "rows.edgemm", variant="onnx:float32")
    return connect(registry, limits=ServingLimits(loops=1, threads=2))


def v2(rows: np.ndarray) -> dict[str, Any]:
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return {"inputs": [tensor]}


@pytest.mark.parametrize("rows", [ROWS, ROWS[:3]])
def test_every_protocol_reads_and_writes_many_numbers(client: DeviceClient, rows: np.ndarray) -> None:
    listed = rows.tolist()
    named = [{"x": row} for row in listed]
    asked = {
        "predict": client.post("/predict", json={"inputs": listed}).json["outputs"]["y"],
        "by name": client.post("/predict", json={"inputs": {"x": listed}}).json["outputs"]["y"],
        "instances": client.post("/v1/models/rows:predict", json={"instances": listed}).json["predictions"],
        "instances by name": client.post("/v1/models/rows:predict", json={"instances": named}).json["predictions"],
        "inputs": client.post("/v1/models/rows:predict", json={"inputs": {"x": listed}}).json["outputs"],
        "v2": client.post("/v2/models/rows/infer", json=v2(rows)).json["outputs"][0]["data"],
    }
    for name, found in asked.items():
        assert np.array_equal(np.array(found, np.float32).reshape(rows.shape), 2 * rows), name


def test_one_wrong_number_among_many_is_refused(client: DeviceClient) -> None:
    listed = ROWS.tolist()
    listed[200][3] = "x"
    for path, key in (("/predict", "inputs"), ("/v1/models/rows:predict", "instances")):
        answer = client.post(path, json={key: listed})
        assert answer.status_code == 413
        assert "binary tensors" in answer.json["error"]


def test_json_that_is_parsed_in_one_call_is_refused(client: DeviceClient) -> None:
    many = json.dumps({"instances": [{"x": [0.5]}] * 100_000}).encode()
    for body in (many, b"[" * 2_000_000, b"0," * 9_000_000):
        assert client.post("/v1/models/rows:predict", data=body).status_code == 413
    packed = gzip.compress(b'{"inputs":[' + b"0," * 9_000_000 + b"0]}")
    answer = client.post("/predict", data=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "binary tensors" in answer.json["error"]


def test_health_is_told_where_all_threads_are_taken(client: DeviceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemm_runtime.http.workers.WorkerPool.submit", lambda self, job: False)
    assert client.get("/v2/models/rows").status_code == 429
    for path in ("/healthz", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
