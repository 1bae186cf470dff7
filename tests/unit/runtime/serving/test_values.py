"""Values that a model cannot compute are the client's error on every route, whatever the engine says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgemm.errors import EngineError
from edgemm_runtime.models.registry import ModelRegistry
from simulators import onnx_bundles
from simulators.device_client import DeviceClient
from simulators.serving import activate
from tests.unit.runtime.conftest import LIMITS, Connect

ROUTES = ["/predict", "/v1/models/shares:predict", "/v2/models/shares/infer"]


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    registry = ModelRegistry()
    onnx_bundles.make_dividing(tmp_path / "shares.edgemm")
    activate(registry, tmp_path / "shares.edgemm", variant="onnx:float32")
    return registry


@pytest.fixture
def client(registry: ModelRegistry, connect: Connect) -> DeviceClient:
    return connect(registry, limits=LIMITS)


def ask(client: DeviceClient, route: str, index: int, divisor: int) -> tuple[int, Any]:
    values = {"index": [index, 1], "divisor": [divisor, 1]}
    listed = [{"name": n, "shape": [2], "datatype": "INT64", "data": v} for n, v in values.items()]
    answer = client.post(route, json={"inputs": listed if "/v2/" in route else values})
    return answer.status_code, answer.json


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("values", "named"), [((99, 1), "index"), ((-11, 1), "index"), ((1, 0), "divisor")])
def test_it_is_400_with_the_inputs_name_and_no_error_of_the_model(
    client: DeviceClient, registry: ModelRegistry, route: str, values: tuple[int, int], named: str
) -> None:
    for _ in range(2):
        status, answer = ask(client, route, *values)
        assert status == 400
        assert answer["error"].startswith(f"input {named!r}: the model cannot compute these values: ")
        assert "onnx" not in answer["error"].lower()
    assert ask(client, route, 9, 5)[0] == 200
    [counted] = registry.snapshot()
    assert (counted.requests, counted.errors, counted.uncomputable) == (1, 0, 0)


@pytest.mark.parametrize("route", ROUTES)
def test_an_engine_that_fails_on_everything_is_the_servers_fault(
    client: DeviceClient, registry: ModelRegistry, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, feeds: object) -> None:
        raise EngineError("out of order")

    monkeypatch.setattr("edgemm_runtime.engines.onnxruntime.OnnxSession.invoke", fail)
    assert ask(client, route, 1, 1) == (500, {"error": "model shares failed: out of order"})
    [counted] = registry.snapshot()
    assert (counted.requests, counted.errors) == (1, 1)
