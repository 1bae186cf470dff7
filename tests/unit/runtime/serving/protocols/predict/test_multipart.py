"""Files of forms: what `curl -F`, browsers and hostile clients send to `/predict`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from urllib3 import encode_multipart_formdata

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.serving.protocols.predict.forms import decode
from edgemm_runtime.serving.protocols.predict.multipart import MOST_PARTS, read_parts
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.models import Dense, make_manifest
from tests.unit.runtime.serving.protocols.predict.test_forms import ROWS, camera, png

__all__ = ["camera"]
FORM = "multipart/form-data"
TYPE = f"{FORM}; boundary=XX"
CSV = "\n".join(",".join(str(float(value)) for value in row) for row in ROWS).encode()


def form(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    """Return a body of parts, each its head's lines and its bytes."""
    return b"".join(b"--XX\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + end


def disposition(name: str = "file") -> str:
    return f'Content-Disposition: form-data; name="{name}"'


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", None])
def test_an_image_of_a_form_is_seen_as_it_is(camera: DeviceClient, content_type: str | None) -> None:
    file = ("cat", png((51, 255, 102)), content_type) if content_type else ("cat", png((51, 255, 102)))
    data, kind = encode_multipart_formdata({"file": file})
    reply = camera.post("/predict?top=1", data=data, content_type=kind)
    assert reply.status_code == 200, reply.json
    assert np.allclose(reply.json["outputs"]["colour"], [[0.2, 1.0, 0.4]], atol=1e-3)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("what", ["file=@rows.csv", "file=@rows.txt", "file=<rows.csv", "inputs=[JSON]"])
def test_curl_sends_a_file_and_a_field(server: ModelServer, tmp_path: Path, what: str) -> None:
    for name in ("rows.csv", "rows.txt"):
        (tmp_path / name).write_bytes(CSV)
    sent = what.replace("[JSON]", json.dumps(ROWS.tolist()))
    command = ["curl", "-s", "--fail", "-F", sent, f"{server.address}/predict/tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    found = json.loads(done.stdout)["outputs"]["scores"]
    assert np.allclose(found, Dense.random(0).predict(ROWS), atol=1e-5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "found 0"),
        ([(disposition("a"), CSV), (disposition("b"), CSV)], "found 2"),
        ([(disposition(), b"nonsense")], "JSON"),
        ([("Content-Type: text/csv", CSV)], "Content-Disposition"),
        ([(disposition() + "\r\nContent-Type: image/png", b"\x89PNG")], "does not declare"),
        ([(disposition() + f"\r\nContent-Type: {TYPE}", b"--XX--")], "another form"),
    ],
)
def test_forms_that_cannot_be_read_are_400(client: DeviceClient, parts: list[tuple[str, bytes]], message: str) -> None:
    reply = client.post("/predict", data=form(*parts), content_type=TYPE)
    assert (reply.status_code, message in reply.json["error"]) == (400, True), reply.json


def test_a_model_of_several_inputs_has_a_part_for_each() -> None:
    two = tuple(TensorSpec(name=name, dtype=DType.FLOAT32, shape=(-1, 4)) for name in ("rows", "more"))
    one = make_manifest()[0]
    [variant, *_], [digest] = one.variants, one.golden.inputs.values()
    tensors = tuple(replace(variant.inputs[0], name=spec.name, tensor=spec.name) for spec in two)
    manifest = replace(
        one,
        signature=replace(one.signature, inputs=two),
        variants=tuple(replace(other, inputs=tensors) for other in one.variants),
        golden=replace(one.golden, inputs={spec.name: digest for spec in two}),
    )
    rows = (f'{disposition("rows")}; filename="rows.CSV"', CSV)
    found = decode(form(rows, (disposition("more"), b"[[1, 2, 3, 4]]")), manifest, content_type=TYPE)
    assert np.allclose(found["rows"], ROWS)
    assert found["more"].tolist() == [[1, 2, 3, 4]]
    for parts in ([rows], [rows, rows], [rows, (disposition("else"), b"[[1, 2, 3, 4]]")]):
        with pytest.raises(BadRequestError, match="expected"):
            decode(form(*parts), manifest, content_type=TYPE)


@pytest.mark.parametrize("kind", [FORM, f"{FORM}; boundary=", f"{FORM}; boundary={'x' * 71}", f"{FORM}; boundary=é"])
def test_a_form_without_a_boundary_is_400(client: DeviceClient, kind: str) -> None:
    reply = client.post("/predict", data=form((disposition(), CSV)), content_type=kind)
    assert (reply.status_code, "boundary" in reply.json["error"]) == (400, True)


def test_too_many_parts_and_heads_too_large_are_413(client: DeviceClient) -> None:
    many = form(*[(disposition(str(number)), b"1") for number in range(MOST_PARTS + 1)])
    for body in (many, form((disposition("x" * 70_000), CSV))):
        assert client.post("/predict", data=body, content_type=TYPE).status_code == 413
    assert len(read_parts(form(*[(disposition(), b"1")] * MOST_PARTS), content_type=TYPE)) == MOST_PARTS


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_form_that_is_cut_short_is_400(client: DeviceClient, cut: int) -> None:
    whole = form((disposition(), json.dumps(ROWS.tolist()).encode()), end=b"--XX--")
    assert client.post("/predict", data=whole, content_type=TYPE).status_code == 200
    assert client.post("/predict", data=whole[:-cut], content_type=TYPE).status_code == 400


@given(st.lists(st.binary(max_size=40_000), max_size=4))
def test_parts_are_read_back_byte_for_byte(contents: list[bytes]) -> None:
    contents = [data.replace(b"--XX", b"") for data in contents]
    body = form(*[(disposition(str(number)), data) for number, data in enumerate(contents)])
    found = read_parts(body, content_type=TYPE)
    assert [(part.name, part.data) for part in found] == [(str(n), data) for n, data in enumerate(contents)]


_PIECES = [
    b"--XX",
    b"--XX--",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    disposition().encode(),
    b'name="',
    b";",
    b"\xff",
    b"x" * 9,
]


@given(st.lists(st.sampled_from(_PIECES) | st.binary(max_size=20), max_size=60), st.text(max_size=30))
def test_whatever_comes_is_parts_or_an_error_of_the_request(pieces: list[bytes], boundary: str) -> None:
    for content_type in (TYPE, f"{FORM}; boundary={boundary}"):
        try:
            found = read_parts(b"".join(pieces), content_type=content_type)
        except (BadRequestError, TooLargeError):
            continue
        assert sum(len(part.data) for part in found) <= sum(map(len, pieces))
