"""What people send to `/predict` beside JSON numbers: images, CSV, and how many classes they want to see."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from edgemm.bundle import open_bundle, write_bundle
from edgemm.bundle.manifest import Preprocessing
from edgemm_runtime.models.registry import ModelRegistry
from simulators.device_client import DeviceClient
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from tests.docs.camera_model import STEPS, write_colour_bundle
from tests.unit.runtime.conftest import Connect

ROWS = np.random.default_rng(3).uniform(-1, 1, (3, 4)).astype(np.float32)


@pytest.fixture
def camera(tmp_path: Path, connect: Connect) -> DeviceClient:
    """A model that tells how red, green and blue an image is."""
    write_colour_bundle(tmp_path / "camera", steps=STEPS)
    registry = ModelRegistry()
    activate(registry, tmp_path / "camera", variant="onnx:float32")
    return connect(registry)


def png(colour: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (50, 40), colour).save(data, "PNG")
    return data.getvalue()


def test_an_image_is_seen_as_it_is(camera: DeviceClient) -> None:
    data = png((51, 255, 102))
    bodies: list[dict[str, Any]] = [
        {"data": data, "content_type": "image/png"},
        {"json": {"b64": base64.b64encode(data).decode()}},
        {"json": {"inputs": {"b64": base64.b64encode(data).decode()}}},
        {"json": {"inputs": {"frame": {"b64": base64.b64encode(data).decode()}}}},
    ]
    for body in bodies:
        reply = camera.post("/predict", **body)
        assert reply.status_code == 200, reply.json
        assert np.allclose(reply.json["outputs"]["colour"], [[0.2, 1.0, 0.4]], atol=1e-3)
        assert reply.json["top"][0]["label"] == "green"


def test_an_image_that_cannot_be_one_is_400(camera: DeviceClient, client: DeviceClient) -> None:
    for asked, body, message in (
        (
            camera,
            {"data": b"nonsense", "content_type": "image/jpeg"},
            "expected an image (JPEG, PNG, GIF, BMP, WebP or TIFF), found something else",
        ),
        (camera, {"json": {"b64": "!"}}, "expected base64"),
        (camera, {"json": {"b64": 5}}, "expected base64"),
        (client, {"data": png((1, 2, 3)), "content_type": "image/png"}, "does not declare"),
    ):
        reply = asked.post("/predict", **body)
        assert reply.status_code == 400
        assert message in reply.json["error"]


def test_csv_is_a_sample_a_line(client: DeviceClient) -> None:
    text = "\n".join(",".join(str(float(value)) for value in row) for row in ROWS)
    for body in (text, f"\ufeff{text}\n\n", text.replace("\n", "\r\n")):
        reply = client.post("/predict", data=body.encode(), content_type="text/csv; charset=utf-8")
        assert reply.status_code == 200, reply.json
        assert np.allclose(reply.json["outputs"]["scores"], Dense.random(0).predict(ROWS), atol=1e-5)


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"])
def test_csv_is_told_by_its_lines_where_nothing_else_does(client: DeviceClient, kind: str) -> None:
    rows = [";".join(str(float(value)) for value in row) for row in ROWS]
    for body in ("\n".join(rows), "\n".join(["a;b;c;d", *rows]), "\n".join(rows).replace(".", ",")):
        reply = client.post("/predict", data=body.encode(), content_type=kind)
        assert reply.status_code == 200, reply.json
        assert np.allclose(reply.json["outputs"]["scores"], Dense.random(0).predict(ROWS), atol=1e-5)
    for body in ("hello", "5", "inputs=1,2", "a,b,c,d", '"1,2"x'):
        refused = client.post("/predict", data=body.encode(), content_type=kind)
        assert refused.status_code == 400
        assert "expected" in refused.json["error"]


@pytest.mark.parametrize("body", ["", "1,2,3", "1,2,3,4\n1,2", "a,b,c,d", "1,2,3,true", '"1,2,3,4', "1,2,3,null"])
def test_csv_that_is_no_samples_is_400(client: DeviceClient, body: str) -> None:
    reply = client.post("/predict", data=body.encode(), content_type="text/csv")
    assert reply.status_code == 400
    assert "expected" in reply.json["error"]


def test_the_best_classes_are_as_many_as_asked_for(client: DeviceClient) -> None:
    scores, names = Dense.random(0).predict(ROWS), np.array(["ant", "bee", "cat"])
    one = client.post("/predict?top=1", json=ROWS.tolist()).json["top"]
    assert [top["label"] for top in one] == names[scores.argmax(axis=1)].tolist()
    for count in (2, 3, 50):
        several = client.post(f"/predict?top={count}", json=ROWS.tolist()).json["top"]
        expected = names[np.argsort(-scores, axis=1)][:, :count].tolist()
        assert [[top["label"] for top in sample] for sample in several] == expected


@pytest.mark.parametrize("count", ["0", "-1", "x", "101", "", "1e3", "99999999999999"])
def test_a_number_of_classes_that_is_none_is_400(client: DeviceClient, count: str) -> None:
    reply = client.post(f"/predict?top={count}", json=ROWS.tolist())
    assert reply.status_code == 400
    assert "from 1 to 100" in reply.json["error"]


@pytest.fixture
def indexed(tmp_path: Path, connect: Connect) -> DeviceClient:
    """A model whose input of four features is declared one of four classes."""
    make_bundle(tmp_path / "plain")
    with open_bundle(tmp_path / "plain") as bundle:
        manifest, blobs = bundle.manifest, {digest: bundle.read(digest) for digest in bundle.manifest.blobs}
    write_bundle(tmp_path / "indexed", replace(manifest, preprocessing={"x": Preprocessing(one_hot=4)}), blobs)
    registry = ModelRegistry()
    activate(registry, tmp_path / "indexed")
    return connect(registry)


def test_class_indices_stand_for_one_hot_rows(indexed: DeviceClient) -> None:
    wanted = Dense.random(0).predict(np.eye(4, dtype=np.float32)[[3, 0]])
    rows = np.eye(4)[[3, 0]].tolist()
    for body in ({"inputs": [3, 0]}, {"inputs": {"x": [3, 0]}}, [3, 0], {"inputs": rows}, rows):
        reply = indexed.post("/predict", json=body)
        assert np.allclose(reply.json["outputs"]["scores"], wanted, atol=1e-5)
    reply = indexed.post("/predict", data=b"3\n0\n", content_type="text/csv")
    assert np.allclose(reply.json["outputs"]["scores"], wanted, atol=1e-5)
    refused = indexed.post("/predict", json={"inputs": [4, 0]})
    assert (refused.status_code, refused.json["error"]) == (
        400, "input 'x': expected integers from 0 to 3 (one_hot = 4), found 0 to 4"
    )  # fmt: skip
