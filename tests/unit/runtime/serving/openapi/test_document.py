"""The OpenAPI document: all routes and no others, and what it says of models is what they take."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.routes import ROUTES, Listener, routes_at
from simulators import stateful
from simulators.device_client import DeviceClient
from simulators.models import make_bundle
from simulators.serving import activate
from tests.unit.runtime.conftest import Connect

KEY = "0123456789abcdef"
ROW = [[0.5, -0.5, 0.25, 1.0]]
ONLY_REFUSES = {("post", "/v1/models/{name}:{verb}")}


def test_every_route_is_described_and_nothing_else(connect: Connect) -> None:
    paths = connect(ModelRegistry()).get("/openapi.json").json["paths"]
    described = {(method, path) for path, methods in paths.items() for method in methods}
    table = {(route.method.lower(), route.path) for route in routes_at(Listener.PUBLIC, ROUTES)}
    assert described == table - ONLY_REFUSES


def test_each_model_has_paths_and_tensors_of_its_own(tmp_path: Path, registry: ModelRegistry, connect: Connect) -> None:
    make_bundle(tmp_path / "b.edgemm", name="other", version="2.0.0")
    activate(registry, tmp_path / "b.edgemm")
    registry.expect("later")
    paths = connect(registry).get("/openapi.json").json["paths"]
    for name in ("tiny", "other", "later"):
        assert {f"/predict/{name}", f"/v2/models/{name}/infer", f"/v1/models/{name}:predict"} <= set(paths)
    [version] = paths["/v2/models/other/versions/{version}/infer"]["post"]["parameters"][:1]
    assert version["schema"]["enum"] == ["2.0.0"]


def test_a_stateful_model_alone_wants_a_sequence(tmp_path: Path, registry: ModelRegistry, connect: Connect) -> None:
    stateful.make_bundle(tmp_path / "wake.edgemm")
    activate(registry, tmp_path / "wake.edgemm")
    paths = connect(registry).get("/openapi.json").json["paths"]
    for name, wanted in (("tiny", 0), ("wake", 3)):
        for path in (f"/predict/{name}", f"/v1/models/{name}:predict"):
            parameters = paths[path]["post"].get("parameters", [])
            assert sum(parameter["name"].startswith("X-Sequence-") for parameter in parameters) == wanted
        body = paths[f"/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert ("parameters" in body["required"]) == bool(wanted)
    for sequence, right in ((7, True), ("door", True), (0, False), ("", False), (-1, False), (True, False)):
        found = {"inputs": [TENSOR], "parameters": {"sequence_id": sequence, "sequence_start": True}}
        assert jsonschema.Draft202012Validator(body).is_valid(found) is right


TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW[0]}
BODIES = [
    ("/predict", ROW),
    ("/predict/tiny", {"inputs": ROW}),
    ("/predict/tiny", {"X": {"x": ROW}}),
    ("/v2/models/tiny/infer", {"inputs": [TENSOR]}),
    ("/v2/models/tiny/infer", {"inputs": [TENSOR | {"data": ROW}], "id": "7"}),
    ("/v1/models/tiny:predict", {"instances": ROW}),
    ("/v1/models/tiny:predict", {"inputs": {"x": ROW}}),
    ("/v1/models/tiny:classify", {"examples": [{"x": ROW[0]}]}),
    ("/predict", [[1, 2, 3]]),
    ("/predict/tiny", {"data": ROW}),
    ("/v2/models/tiny/infer", {"inputs": [TENSOR | {"datatype": "INT8"}]}),
    ("/v2/models/tiny/infer", {"inputs": []}),
    ("/v2/models/tiny/infer", {"inputs": [TENSOR | {"shape": [0, 4], "data": []}]}),
    ("/v1/models/tiny:predict", {"instances": []}),
    ("/v1/models/tiny:classify", {"examples": [{"y": ROW[0]}]}),
    ("/v2/feedback", {"id": 7}),
]


@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda value: json.dumps(value)[:40])
def test_the_schema_takes_what_the_model_takes(client: DeviceClient, path: str, body: object) -> None:
    document = client.get("/openapi.json").json
    operation = document["paths"][path]["post"]
    reply = client.post(path, json=body)
    assert reply.status_code in {200, 400}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert _fits(body, schema, document) == (reply.status_code == 200), reply.text
    answer = operation["responses"][str(reply.status_code)]["content"][reply.content_type]["schema"]
    assert _fits(reply.json, answer, document)


GETS = [
    "/openapi.json", "/healthz", "/shadow", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/stats",
    "/v2/models/tiny", "/v2/models/tiny/ready", "/v2/models/tiny/stats", "/v2/models/tiny/config", "/v1/models/tiny",
    "/v1/models/tiny/metadata",
]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_an_answer_is_what_the_document_says(client: DeviceClient, path: str) -> None:
    document, reply = client.get("/openapi.json").json, client.get(path)
    told = document["paths"][path]["get"]["responses"]["200"]["content"]
    assert _fits(reply.json, told[reply.content_type]["schema"], document)


def test_a_key_is_told_and_not_for_health(registry: ModelRegistry, connect: Connect) -> None:
    document = connect(registry, access=Access(api_key=KEY)).get("/openapi.json", headers={"X-API-Key": KEY}).json
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    assert document["security"]
    open_paths = {path for path, methods in document["paths"].items() if methods.get("get", {}).get("security") == []}
    assert open_paths == {"/", "/healthz", "/v2/health/live", "/v2/health/ready"}
    assert "401" in document["paths"]["/predict"]["post"]["responses"]


def test_without_a_model_the_paths_are_templates(connect: Connect) -> None:
    document = connect(ModelRegistry()).get("/openapi.json").json
    assert document["paths"]["/predict/{name}"]["post"]["parameters"][0]["name"] == "name"


def _fits(value: object, schema: dict[str, object], document: dict[str, object]) -> bool:
    whole = schema | {"components": document["components"]}
    return jsonschema.Draft202012Validator(whole).is_valid(value)
