"""`/predict` for people, `/metrics` for monitoring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgemm_runtime.models.registry import ModelRegistry
from simulators.device_client import DeviceClient
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from tests.unit.runtime.conftest import Connect

DENSE = Dense.random(0)
ROWS = [[0.1, -0.2, 0.3, -0.4], [1, 0, 0, 1]]
EXPECTED = DENSE.predict(np.array(ROWS, np.float32))


@pytest.mark.parametrize("path", ["/predict", "/predict/tiny"])
@pytest.mark.parametrize("message", [ROWS, {"inputs": ROWS}, {"X": ROWS}, {"inputs": {"x": ROWS}}])
def test_every_form_gets_outputs_by_name_and_the_best_label(client: DeviceClient, path: str, message: Any) -> None:
    answer = client.post(path, data=json.dumps(message)).json
    assert (answer["model"], answer["version"]) == ("tiny", "1.0.0")
    assert np.allclose(answer["outputs"]["scores"], EXPECTED, atol=1e-5)
    assert [top["label"] for top in answer["top"]] == [("ant", "bee", "cat")[i] for i in EXPECTED.argmax(axis=1)]
    assert np.allclose([top["score"] for top in answer["top"]], EXPECTED.max(axis=1), atol=1e-5)


def test_a_single_sample_may_leave_out_the_batch(client: DeviceClient) -> None:
    answer = client.post("/predict", json=ROWS[0]).json
    assert np.allclose(answer["outputs"]["scores"], EXPECTED[:1], atol=1e-5)


def test_without_labels_there_is_no_top(tmp_path: Path, connect: Connect) -> None:
    make_bundle(tmp_path / "b.edgemm", labels=None)
    registry = ModelRegistry()
    activate(registry, tmp_path / "b.edgemm")
    assert "top" not in connect(registry).post("/predict", json=ROWS).json


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected JSON such as"),
        (b"[1, 2", "expected JSON such as"),
        (b"[NaN, 1, 2, 3]", "expected JSON such as"),
        (b"[" * 100_000, "expected JSON such as"),
        (b"7", "found 7"),
        (b"{}", 'expected an array, {"inputs": …} or {"X": …}, found an object without keys'),
        (b'{"inputs": [], "X": []}', "found the keys X, inputs"),
        (b'{"data": [1]}', "found the keys data"),
        (b'{"inputs": {"y": [1]}}', "expected the inputs x float32[-1, 4], found y"),
        (b"[1, 2, 3]", "expected shape [-1, 4], found [1, 3]"),
        (b"[[1, 2, 3, 4], [1]]", "expected float32 values of one shape"),
        (b'["1", "2", "3", "4"]', 'expected float32 values, found "1"'),
        (b"[null, 1, 2, 3]", "found null"),
        (b"[true, 1, 2, 3]", "found true"),
        (b"[[1, 2, 3, {}]]", "found {}"),
        (b"[1e39, 1, 2, 3]", "1e+39 is out of the range of float32"),
        (b"[]", "found [1, 0]"),
    ],
)  # fmt: skip
def test_bad_input_is_400_and_says_what_was_expected(client: DeviceClient, body: bytes, message: str) -> None:
    reply = client.post("/predict", data=body)
    assert (reply.status_code, reply.headers["Content-Type"]) == (400, "application/json")
    assert message in reply.json["error"]


def test_with_two_models_the_path_must_name_one(tmp_path: Path, registry: ModelRegistry, connect: Connect) -> None:
    make_bundle(tmp_path / "b.edgemm", name="other", seed=5)
    activate(registry, tmp_path / "b.edgemm")
    client = connect(registry)
    assert client.post("/predict", json=ROWS).status_code == 404
    assert "served: other, tiny" in client.post("/predict", json=ROWS).json["error"]
    expected = Dense.random(5).predict(np.array(ROWS, np.float32))
    assert np.allclose(client.post("/predict/other", json=ROWS).json["outputs"]["scores"], expected, atol=1e-5)


def test_get_is_405_in_json(client: DeviceClient) -> None:
    reply = client.get("/predict")
    assert (reply.status_code, list(reply.json)) == (405, ["error"])
    assert "POST" in reply.headers["Allow"]


def metrics(client: DeviceClient) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {s.name + str(sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_metrics_count_requests_errors_and_latency(client: DeviceClient) -> None:
    for _ in range(3):
        client.post("/predict", json=ROWS)
    client.post("/predict", json=[1])
    found = metrics(client)
    labels = "[('model', 'tiny'), ('variant', 'tflite:float32'), ('version', '1.0.0')]"
    assert found["edgemm_requests_total" + labels] == 3
    assert found["edgemm_errors_total" + labels] == 0
    assert found["edgemm_latency_seconds_count" + labels] == 3
    assert found["edgemm_ready[]"] == 1
    assert found["edgemm_hangs_total" + labels] == 0
    buckets = [value for name, value in found.items() if name.startswith("edgemm_latency_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3


@pytest.mark.parametrize("accepted", [None, "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
def test_metrics_are_of_the_version_that_every_scraper_reads(client: DeviceClient, accepted: str | None) -> None:
    answer = client.get("/metrics", headers={} if accepted is None else {"Accept": accepted})
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert list(text_string_to_metric_families(answer.text))


def test_a_label_for_one_of_several_models_says_where_to_name_it(
    tmp_path: Path, registry: ModelRegistry, client: DeviceClient
) -> None:
    make_bundle(tmp_path / "b.edgemm", name="other")
    activate(registry, tmp_path / "b.edgemm")
    assert client.post("/predict/tiny", json=ROWS[0], headers={"X-Request-Id": "door"}).status_code == 200
    answer = client.post("/v2/feedback", json={"id": "door", "label": "bee"})
    assert answer.status_code == 404
    assert answer.json["error"] == "expected the name of a model as `model`; served: other, tiny"
    assert client.post("/v2/feedback", json={"id": "door", "label": "bee", "model": "tiny"}).status_code == 200
