"""`GET /monitor`: requests of every protocol are looked at, the page tells, and what cannot be read is left alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgemm.bundle import open_bundle, write_bundle
from edgemm.bundle.blobs import BlobFolder
from edgemm.bundle.manifest import Blob
from edgemm.monitoring import monitor_document
from edgemm.monitoring.monitor_document import MAX_BYTES, Modality, Scores
from edgemm_runtime.engines.bundle_source import FolderSource
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.monitoring.committee import Committee
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from simulators.device_client import DeviceClient
from simulators.models import Dense, make_manifest
from simulators.serving import activate
from tests.monitors import CLASSES, COLUMNS, small_document
from tests.unit.runtime.conftest import LIMITS, Connect

DOCUMENT = small_document(output="scores", scores=Scores.LOGITS)
ROWS = np.random.default_rng(7).uniform(-1, 1, (150, COLUMNS)).astype(np.float32)


def monitored(path: Path, document: bytes, *, version: str = "1.0.0") -> Path:
    """Write a bundle whose model is monitored by a document."""
    manifest, blobs = make_manifest(version=version)
    digest = hashlib.sha256(document).hexdigest()
    listed = {**manifest.blobs, digest: Blob(size=len(document), media_type=monitor_document.MEDIA_TYPE)}
    manifest = msgspec.structs.replace(manifest, blobs=listed, documents={monitor_document.NAME: digest})
    write_bundle(path, manifest, {**blobs, digest: document})
    return path


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    registry = ModelRegistry(monitor=MonitorLimits(requests_per_minute=0))
    yield registry
    registry.watching.close()


def serve(registry: ModelRegistry, path: Path, connect: Connect, *, variant: str = "tflite:float32") -> DeviceClient:
    activate(registry, path, variant=variant)
    return connect(registry, limits=LIMITS)


def told(client: DeviceClient, registry: ModelRegistry) -> dict[str, Any]:
    registry.watching.settle()
    [model] = client.get("/monitor").json["models"]
    return dict(model)


def test_requests_of_every_protocol_are_counted(registry: ModelRegistry, tmp_path: Path, connect: Connect) -> None:
    client = serve(registry, monitored(tmp_path / "tiny.edgemm", monitor_document.encode(DOCUMENT)), connect)
    before = told(client, registry)
    assert (before["estimate"]["state"], before["estimate"]["samples"]) == ("insufficient", 0)
    tensor = {"name": "x", "shape": [50, COLUMNS], "datatype": "FP32", "data": ROWS[:50].ravel().tolist()}
    for rows in range(0, 50, 10):
        part = {**tensor, "shape": [10, COLUMNS], "data": ROWS[rows : rows + 10].ravel().tolist()}
        assert client.post("/v2/models/tiny/infer", json={"inputs": [part]}).status_code == 200
    for rows in range(50, 100, 25):
        assert client.post("/predict", json={"inputs": {"x": ROWS[rows : rows + 25].tolist()}}).status_code == 200
    for rows in range(100, 150, 25):
        sent = {"instances": ROWS[rows : rows + 25].tolist()}
        assert client.post("/v1/models/tiny:predict", json=sent).status_code == 200
    found = told(client, registry)
    assert (found["model"], found["version"], found["shed"]) == ("tiny", "1.0.0", 0)
    assert found["since_start"]["samples"] == 150
    assert found["estimate"]["low"] <= found["estimate"]["accuracy"] <= found["estimate"]["high"]
    wanted = Committee(DOCUMENT).answered({"x": ROWS}, Dense.random(0).predict(ROWS)).counts(CLASSES)
    [watched] = registry.watched()
    assert watched.counts == wanted
    metrics = client.get("/metrics").text
    assert 'edgemm_monitored_rows_total{model="tiny",variant="tflite:float32",version="1.0.0"} 150.0' in metrics
    assert 'edgemm_estimated_accuracy_ratio{bound="estimate",model="tiny"' in metrics


def test_raw_integers_are_looked_at_as_what_they_stand_for(
    registry: ModelRegistry, tmp_path: Path, connect: Connect
) -> None:
    path = monitored(tmp_path / "tiny.edgemm", monitor_document.encode(DOCUMENT))
    client = serve(registry, path, connect, variant="tflite:int8")
    codes = np.random.default_rng(1).integers(-128, 128, (20, COLUMNS)).astype(np.int8)
    sent = {
        "parameters": {"raw_output": True},
        "inputs": [{"name": "x", "shape": [20, COLUMNS], "datatype": "INT8", "data": codes.ravel().tolist()}],
    }
    assert client.post("/v2/models/tiny/infer", json=sent).status_code == 200
    told(client, registry)
    variant = registry.get("tiny").variant
    [into], [out] = variant.inputs, variant.outputs
    assert into.quantization is not None
    assert out.quantization is not None
    real = ((codes.astype(np.float64) - into.quantization.zero_point) * into.quantization.scale).astype(np.float32)
    answered = registry.get("tiny").model.predict({"x": real})["scores"]
    [watched] = registry.watched()
    assert watched.counts == Committee(DOCUMENT).answered({"x": real}, answered).counts(CLASSES)


@pytest.mark.parametrize("document", [b"", b"\xc1" * 40, msgspec.msgpack.encode({"format": "9.0"})])
def test_a_document_that_cannot_be_read_leaves_the_model_served(
    registry: ModelRegistry, tmp_path: Path, connect: Connect, document: bytes
) -> None:
    client = serve(registry, monitored(tmp_path / "tiny.edgemm", document), connect)
    assert client.post("/predict", json={"inputs": {"x": ROWS[:2].tolist()}}).status_code == 200
    assert client.get("/monitor").json == {"models": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "none"},
        {"view": msgspec.structs.replace(DOCUMENT.view, inputs=("none",))},
        {"view": msgspec.structs.replace(DOCUMENT.view, modality=Modality("video"))},
        {"scores": Scores("votes")},
    ],
)
def test_a_document_of_another_model_or_a_later_edgemm_is_told_and_left_alone(
    registry: ModelRegistry,
    tmp_path: Path,
    connect: Connect,
    changes: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    document = monitor_document.encode(msgspec.structs.replace(DOCUMENT, **changes))
    client = serve(registry, monitored(tmp_path / "tiny.edgemm", document), connect)
    assert client.get("/monitor").json == {"models": []}
    assert "model is not monitored" in caplog.text


def test_a_document_that_is_too_large_is_not_read(
    registry: ModelRegistry, tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(registry, monitored(tmp_path / "tiny.edgemm", b"\0" * (MAX_BYTES + 1)), connect)
    assert client.get("/monitor").json == {"models": []}
    assert "its document has 65,537 bytes" in caplog.text


def test_a_bundle_that_an_older_runtime_fetched_without_its_document_is_served(
    registry: ModelRegistry, tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = BlobFolder(tmp_path / "blobs")
    with open_bundle(monitored(tmp_path / "tiny.edgemm", monitor_document.encode(DOCUMENT))) as bundle:
        manifest, digest = bundle.manifest, bundle.digest
        for blob in manifest.blobs:
            if blob != manifest.documents[monitor_document.NAME]:
                shelf.write(blob, [bundle.read(blob)])
    source = FolderSource(manifest, digest, shelf)
    registry.activate("tiny", source, manifest.variant("tflite:float32"))
    client = connect(registry, limits=LIMITS)
    assert client.post("/predict", json={"inputs": {"x": ROWS[:2].tolist()}}).status_code == 200
    assert client.get("/monitor").json == {"models": []}
    assert "model is not monitored" in caplog.text


def test_what_is_served_no_more_is_not_told(registry: ModelRegistry, tmp_path: Path, connect: Connect) -> None:
    document = monitor_document.encode(DOCUMENT)
    client = serve(registry, monitored(tmp_path / "tiny.edgemm", document), connect)
    activate(registry, monitored(tmp_path / "next.edgemm", document, version="2.0.0"))
    assert told(client, registry)["version"] == "2.0.0"
    metrics = client.get("/metrics").text
    assert 'edgemm_monitored_rows_total{model="tiny",variant="tflite:float32",version="2.0.0"}' in metrics
    assert 'edgemm_monitored_rows_total{model="tiny",variant="tflite:float32",version="1.0.0"}' not in metrics
    registry.unload("tiny", "wanted")
    assert client.get("/monitor").json == {"models": []}


def test_each_request_of_a_batch_is_looked_at_where_every_one_is_wanted(
    registry: ModelRegistry, tmp_path: Path, connect: Connect
) -> None:
    client = serve(registry, monitored(tmp_path / "tiny.edgemm", monitor_document.encode(DOCUMENT)), connect)
    assert registry.get("tiny").predict_together([{"x": ROWS[at : at + 1]} for at in range(6)]) is not None
    assert told(client, registry)["since_start"]["samples"] == 6


def test_counts_go_on_when_the_same_bundle_comes_back(
    registry: ModelRegistry, tmp_path: Path, connect: Connect
) -> None:
    path = monitored(tmp_path / "tiny.edgemm", monitor_document.encode(DOCUMENT))
    client = serve(registry, path, connect)
    client.post("/predict", json={"inputs": {"x": ROWS[:3].tolist()}})
    activate(registry, path)
    client.post("/predict", json={"inputs": {"x": ROWS[3:5].tolist()}})
    assert told(client, registry)["since_start"]["samples"] == 5
