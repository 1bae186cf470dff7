"""A request whose values ask for gigabytes costs no more memory than one may: it is refused, others are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm_runtime.memory import request_memory
from edgemm_runtime.models.registry import ModelRegistry
from simulators import onnx_bundles
from simulators.device_client import DeviceClient
from simulators.serving import activate
from tests.unit.runtime.conftest import LIMITS, Connect

MIB = 1024 * 1024


def peak_mib() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    monkeypatch.setattr(request_memory._Allowed, "most_bytes", 64 * MIB)
    registry = ModelRegistry()
    onnx_bundles.make_counting(tmp_path / "counting.edgemm", "counting")
    activate(registry, tmp_path / "counting.edgemm", variant="onnx:float32")
    return registry


@pytest.fixture
def client(registry: ModelRegistry, connect: Connect) -> DeviceClient:
    return connect(registry, limits=LIMITS)


def test_it_is_refused_costs_no_memory_and_is_no_error_of_the_model(
    client: DeviceClient, registry: ModelRegistry
) -> None:
    assert client.post("/predict", json={"inputs": [3]}).json["outputs"]["y"] == [0, 1, 2]
    before = peak_mib()
    for _ in range(3):
        answer = client.post("/predict", json={"inputs": [400_000_000]})
        assert answer.status_code == 400
        assert answer.json["error"].startswith("the model needs more memory for these values than the 67,108,864 bytes")
        assert client.post("/predict", json={"inputs": [2]}).json["outputs"]["y"] == [0, 1]
    assert peak_mib() - before < 64
    [counted] = registry.snapshot()
    assert (counted.errors, counted.uncomputable) == (0, 0)


def test_what_fits_is_answered_again_and_again(client: DeviceClient) -> None:
    for _ in range(5):
        answer = client.post("/predict", json={"inputs": [20_000]})
        assert len(answer.json["outputs"]["y"]) == 20_000
