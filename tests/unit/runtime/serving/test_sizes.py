"""A size that the model cannot compute is the client's error on every route; a failing engine is the server's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemm.errors import EngineError
from edgemm_runtime.models.registry import ModelRegistry
from simulators import free_size
from simulators.device_client import DeviceClient
from simulators.free_size import INPUT, VARIANTS
from simulators.serving import activate
from simulators.v2_client import encode_request
from tests.unit.runtime.conftest import LIMITS, Connect

ROUTES = ["json", "binary", "people"]


@pytest.fixture(params=VARIANTS)
def sized(request: pytest.FixtureRequest, tmp_path: Path, connect: Connect) -> tuple[DeviceClient, ModelRegistry]:
    path, registry = tmp_path / "edges.edgemm", ModelRegistry()
    free_size.make_bundle(path)
    activate(registry, path, variant=request.param)
    return connect(registry, limits=LIMITS), registry


def ask(client: DeviceClient, route: str, image: np.ndarray) -> tuple[int, dict[str, Any]]:
    if route == "people":
        answer = client.post("/predict", json={"inputs": image.tolist()})
    else:
        body, length = encode_request({INPUT: image}, binary=route == "binary")
        headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
        answer = client.post("/v2/models/edges/infer", data=body, headers=headers)
    return answer.status_code, answer.json if answer.status_code != 200 else {}


@pytest.mark.parametrize("route", ROUTES)
def test_too_small_is_a_bad_request(sized: tuple[DeviceClient, ModelRegistry], route: str) -> None:
    client, registry = sized
    status, answer = ask(client, route, np.ones((1, 2, 4, 1), np.float32))
    assert status == 400
    assert answer["error"].startswith("input 'image' of shape [1, 2, 4, 1]: ")
    assert ask(client, route, np.ones((1, 4, 4, 1), np.float32))[0] == 200
    [counted] = registry.snapshot()
    assert (counted.requests, counted.errors) == (1, 0), "what a client got wrong is not held against the model"
    assert counted.uncomputable == 1, "but known, for a model before it may have computed that size"


@pytest.mark.parametrize("route", ROUTES)
def test_a_failing_engine_is_the_servers_fault(
    sized: tuple[DeviceClient, ModelRegistry], monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    client, registry = sized

    def fail(self: object, feeds: object) -> None:
        raise EngineError("out of order")

    monkeypatch.setattr("edgemm_runtime.engines.litert.LiteRtSession.invoke", fail)
    monkeypatch.setattr("edgemm_runtime.engines.onnxruntime.OnnxSession.invoke", fail)
    assert ask(client, route, np.ones((1, 2, 4, 1), np.float32)) == (500, {"error": "model edges failed: out of order"})
    [counted] = registry.snapshot()
    assert (counted.requests, counted.errors) == (1, 1)
