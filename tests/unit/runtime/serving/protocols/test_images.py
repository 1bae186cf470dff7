"""Images in every protocol, under any content type, one and many: each is what `/predict` makes of the file alone."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from urllib3 import encode_multipart_formdata

from edgemm.bundle.manifest import DType, Preprocessing, Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.protocols.v2 import codec as v2_codec
from edgemm_runtime.serving.protocols.v2 import messages
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.serving import activate
from tests.docs.camera_model import STEPS, write_colour_bundle
from tests.unit.runtime.preprocessing.pictures import encoded, png

COLOURS = [(51, 255, 102), (255, 0, 51), (0, 51, 204)]
EXPECTED = np.array(COLOURS) / 255
FILES = [encoded("PNG", np.full((40, 50, 3), colour, np.uint8)) for colour in COLOURS]
TEXTS = [base64.b64encode(data).decode() for data in FILES]
TYPES = [
    "image/png", "image/jpeg", "image/x-whatever", "application/octet-stream", "application/x-www-form-urlencoded",
    "application/json", "text/plain", "text/csv", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    path = tmp_path_factory.mktemp("images") / "camera"
    write_colour_bundle(path, steps=STEPS)
    registry = ModelRegistry()
    activate(registry, path, variant="onnx:float32")
    with ModelServer(registry) as server:
        yield server


@pytest.fixture
def camera(server: ModelServer) -> Iterator[DeviceClient]:
    with DeviceClient(server.address) as client:
        yield client


def seen(reply: Any, expected: np.ndarray) -> None:
    assert reply.status_code == 200, reply.json
    assert np.allclose(reply.json["outputs"]["colour"], expected, atol=1e-3)


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_the_bytes_of_an_image_are_one_under_any_content_type(
    camera: DeviceClient, kind: str, content_type: str
) -> None:
    grey = encoded(kind, np.full((40, 50, 3), 102, np.uint8))
    seen(camera.post("/predict", data=grey, content_type=content_type), np.full((1, 3), 0.4))


def test_16_bits_are_scaled(camera: DeviceClient) -> None:
    deep = png(np.full((4, 4, 1), 0x6666, np.uint16))
    seen(camera.post("/predict", data=deep, content_type="image/png"), np.full((1, 3), 0.4))


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "image/png"])
def test_an_array_of_pixels_is_frames(camera: DeviceClient, content_type: str) -> None:
    file = BytesIO()
    np.save(file, np.stack([np.full((40, 50, 3), colour, np.uint8) for colour in COLOURS]))
    seen(camera.post("/predict", data=file.getvalue(), content_type=content_type), EXPECTED)
    form, kind = encode_multipart_formdata({"file": ("frames.npy", file.getvalue())})
    seen(camera.post("/predict", data=form, content_type=kind), EXPECTED)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_sends_a_file_as_it_likes(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "cat").write_bytes(FILES[0])
    (tmp_path / "cat.txt").write_text(f"data:image/png;base64,{TEXTS[0]}")
    for given in (["--data-binary", "@cat"], ["-T", "cat", "-X", "POST"], ["-F", "x=@cat"], ["-d", "@cat.txt"]):
        command = ["curl", "-s", "--fail-with-body", *given, f"{server.address}/predict"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, (given, done.stdout)
        assert json.loads(done.stdout)["top"][0]["label"] == "green"
    command = ["curl", "-s", "-d", "@cat", f"{server.address}/predict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert "send it with curl --data-binary, not -d" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda images: images,
        lambda images: {"inputs": images},
        lambda images: {"X": images},
        lambda images: {"inputs": {"frame": images}},
    ],
)
@pytest.mark.parametrize("write", [lambda text: text, lambda text: {"b64": text}, lambda text: f"data:;base64,{text}"])
def test_predict_takes_one_image_or_a_list(
    camera: DeviceClient, wrap: Callable[[Any], Any], write: Callable[[str], Any]
) -> None:
    images = [write(text) for text in TEXTS]
    seen(camera.post("/predict", json=wrap(images)), EXPECTED)
    seen(camera.post("/predict", json=wrap(images[0])), EXPECTED[:1])
    tops = camera.post("/predict", json=wrap(images)).json["top"]
    assert [top["label"] for top in tops] == ["green", "red", "blue"]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("file", "file", "file"), ("frame", "x", "frame")])
def test_a_form_of_several_files_is_a_batch(camera: DeviceClient, names: tuple[str, ...]) -> None:
    fields = [(name, (f"{name}.jpg", data)) for name, data in zip(names, FILES, strict=True)]
    data, kind = encode_multipart_formdata(fields)
    seen(camera.post("/predict", data=data, content_type=kind), EXPECTED)
    data, kind = encode_multipart_formdata([*fields, ("more", ("x.csv", b"1,2,3"))])
    refused = camera.post("/predict", data=data, content_type=kind)
    assert refused.status_code == 400
    assert "several with an image each, found 4" in refused.json["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"b64": text} for text in TEXTS]},
        {"instances": [{"frame": {"b64": text}} for text in TEXTS]},
        {"instances": TEXTS},
        {"inputs": [{"b64": text} for text in TEXTS]},
        {"inputs": {"frame": [{"b64": text} for text in TEXTS]}},
    ],
)
def test_tensorflow_serving_takes_b64(camera: DeviceClient, body: dict[str, Any]) -> None:
    reply = camera.post("/v1/models/camera:predict", json=body)
    assert reply.status_code == 200, reply.json
    assert np.allclose(reply.json["outputs" if "inputs" in body else "predictions"], EXPECTED, atol=1e-3)
    examples = {"examples": [{"frame": {"b64": text}} for text in TEXTS]}
    found = camera.post("/v1/models/camera:classify", json=examples).json["results"]
    assert [max(row, key=lambda pair: pair[1])[0] for row in found] == ["green", "red", "blue"]


@pytest.mark.parametrize("shape", [[3], [3, 1], [1, 3]])
@pytest.mark.parametrize("nested", [False, True])
def test_v2_takes_tensors_of_bytes_in_json(camera: DeviceClient, shape: list[int], *, nested: bool) -> None:
    data = [TEXTS] if nested else TEXTS
    tensor = {"name": "frame", "datatype": "BYTES", "shape": shape, "data": data}
    reply = camera.post("/v2/models/camera/infer", json={"inputs": [tensor], "id": "x"})
    assert reply.status_code == 200, reply.json
    assert np.allclose(reply.json["outputs"][0]["data"], EXPECTED.ravel(), atol=1e-3)
    assert reply.json["outputs"][0]["shape"] == [3, 3]


def elements(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(data)) + data for data in files)


@pytest.mark.parametrize("files", [FILES, [text.encode() for text in TEXTS]])
def test_v2_takes_tensors_of_bytes_behind_the_json(camera: DeviceClient, files: list[bytes]) -> None:
    behind = elements(*files)
    tensor = {"name": "frame", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(behind)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    for _ in range(2):  # the second time, what was remembered of the first would be met
        reply = camera.post(
            "/v2/models/camera/infer",
            data=head + behind,
            headers={messages.HEADER_LENGTH: str(len(head))},
            content_type="application/octet-stream",
        )
        assert reply.status_code == 200, reply.json
        assert np.allclose(reply.json["outputs"][0]["data"], EXPECTED.ravel(), atol=1e-3)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_sends_images_as_objects(server: ModelServer, *, binary: bool) -> None:
    triton = pytest.importorskip("tritonclient.http")
    given = triton.InferInput("frame", [3], "BYTES")
    objects = FILES if binary else [text.encode() for text in TEXTS]
    given.set_data_from_numpy(np.array(objects, dtype=object), binary_data=binary)
    with triton.InferenceServerClient(server.address.removeprefix("http://")) as client:
        found = client.infer("camera", [given]).as_numpy("colour")
    assert np.allclose(found, EXPECTED, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "behind", "said"),
    [
        ({"shape": [2], "data": TEXTS}, b"", "says how many images there are, found 3"),
        ({"shape": [3]}, b"", "found neither"),
        ({"shape": [1], "data": TEXTS[:1], "parameters": {"binary_data_size": 0}}, b"", "found both"),
        ({"shape": [1], "data": [5]}, b"", "expected texts in base64, found 5"),
        ({"shape": [1], "data": ["!"]}, b"", "expected base64"),
        ({"shape": [1], "parameters": {"binary_data_size": 9}}, b"\5\0\0\0abc", "up to the 7 bytes after the JSON"),
        ({"shape": [1], "parameters": {"binary_data_size": 7}}, b"\5\0\0\0abc", "cut short"),
        ({"shape": [1], "parameters": {"binary_data_size": 2}}, b"\5\0", "cut short"),
        ({"shape": [1], "parameters": {"binary_data_size": 7}}, b"\3\0\0\0abc", "expected an image"),
        ({"shape": [-1], "data": TEXTS}, b"", "says how many images"),
    ],
)
def test_tensors_of_bytes_that_are_no_images_are_400(
    camera: DeviceClient, fields: dict[str, Any], behind: bytes, said: str
) -> None:
    head = json.dumps({"inputs": [{"name": "frame", "datatype": "BYTES", **fields}]}).encode()
    reply = camera.post("/v2/models/camera/infer", data=head + behind, headers={messages.HEADER_LENGTH: str(len(head))})
    assert reply.status_code == 400
    assert said in reply.json["error"]


def test_bytes_of_images_are_never_remembered_as_numbers() -> None:
    """An element as long as the input's own numbers, and a list of texts in which numbers could stand."""
    spec = TensorSpec(name="frame", dtype=DType.UINT8, shape=(-1, 6, 6, 3))
    signature = Signature(inputs=(spec,), outputs=(spec,))
    codec = v2_codec.Codec(signature, name="m", version="1.0.0", declared={"frame": Preprocessing()})
    file = png(np.zeros((6, 6, 3), np.uint8))
    file += bytes(6 * 6 * 3 - 4 - len(file)) if len(file) < 104 else b""
    behind = elements(file)
    tensor = {"name": "frame", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(behind)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    for _ in range(2):
        found = codec.decode(head + behind, header_length=str(len(head)))
        assert not found.inputs["frame"].any()
    assert not codec._plans
    text = base64.b64encode(file).decode()
    body = json.dumps({"inputs": [{"name": "frame", "datatype": "BYTES", "shape": [1], "data": [text]}]})
    codec.decode(body.encode())
    assert not codec._flats
    with pytest.raises(BadRequestError, match="expected texts in base64"):
        codec.decode(body.replace(f'"{text}"', "7").encode())


def test_a_bundle_that_declares_nothing_says_so_in_every_protocol(client: DeviceClient) -> None:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": TEXTS[:1]}
    for path, body, said in (
        ("/predict", {"b64": TEXTS[0]}, "does not declare"),
        ("/predict", [{"b64": TEXTS[0]}], "does not declare"),
        ("/predict", TEXTS, "expected float32 values"),
        ("/v1/models/tiny:predict", {"instances": [{"b64": TEXTS[0]}]}, "does not declare"),
        ("/v2/models/tiny/infer", {"inputs": [tensor]}, "expected datatype FP32, found BYTES"),
    ):
        reply = client.post(path, json=body)
        assert reply.status_code == 400
        assert said in reply.json["error"]
    reply = client.post("/predict", data=FILES[0], content_type="application/octet-stream")
    assert (reply.status_code, "does not declare" in reply.json["error"]) == (400, True)


def test_one_bad_image_of_many_is_named_and_too_many_are_413(camera: DeviceClient) -> None:
    reply = camera.post("/predict", json=[TEXTS[0], base64.b64encode(b"hello").decode()])
    assert (reply.status_code, "image 2 of 2: expected an image" in reply.json["error"]) == (400, True)
    reply = camera.post("/predict", json=TEXTS[:1] * 1025)
    assert (reply.status_code, "at most 1,024 images at once" in reply.json["error"]) == (413, True)
