"""An event loop reads what is small; what may become large is for another thread."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from edgemm.bundle.manifest import DType, Layout, Preprocessing, TensorSpec
from edgemm.transport.request_head import Head
from edgemm_runtime.http import hurry
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.preprocessing.image_inputs import of_files
from edgemm_runtime.serving.protocols.decoded_size import is_small

V2 = b'{"id":"550e8400-e29b-41d4-a716-446655440000","inputs":[{"name":"x","datatype":"FP32","data":[1,2]}]}'
JPEG = b"\xff\xd8\xff" + bytes(20_000)


def small(body: bytes, path: str = "/predict", **headers: str) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return is_small(Request(Head("POST", path, headers=named), body), quick_bytes=256 * 1024)


@pytest.mark.parametrize("body", [b"", b"[[1,2]]", V2, b"[" + b"0," * 16_000, b"0," * 2000, JPEG])
def test_what_is_small_is(body: bytes) -> None:
    assert small(body)
    assert small(body, content_type="application/json")


def test_tensors_behind_the_json_may_be_larger() -> None:
    for json, after, expected in ((V2, 200_000, True), (V2, 300_000, False), (b"0" * 190_000, 10_000, False)):
        named = {"inference_header_content_length": str(len(json))}
        assert small(json + bytes(after), "/v2/models/x/infer", **named) is expected
        assert not small(json + bytes(after), **named), "elsewhere, no JSON is before tensors"


@pytest.mark.parametrize("body", [b"[" + b"0," * 17_000, b"0," * 3000])
def test_what_takes_long_is_not(body: bytes) -> None:
    assert not small(body)


@pytest.mark.parametrize(
    "headers", [{"content_type": "Multipart/Form-Data; boundary=x"}, {"content_type": "text/csv; charset=utf-8"}]
)
def test_what_takes_longer_than_json_is_not(headers: dict[str, str]) -> None:
    assert small(b"[" + b"1," * 2000, **headers)
    assert not small(b"[" + b"1," * 4000, **headers)


def test_nor_is_what_is_packed() -> None:
    assert not small(b"xx", content_encoding="gzip")


def image(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "PNG")
    return file.getvalue()


def test_a_thread_in_a_hurry_decodes_one_small_image_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, steps = TensorSpec("x", DType.FLOAT32, (-1, -1, -1, 3)), Preprocessing(scale=1.0, layout=Layout.HWC)
    large, little = image(200), image(100)
    for files in ([little], [large], [little, little]):
        assert len(of_files(files, spec, steps)) == len(files)
    monkeypatch.setattr(hurry.here, "hurried", True)
    assert of_files([little], spec, steps).shape == (1, 100, 100, 3)
    for files in ([large], [little, little]):
        with pytest.raises(hurry.TakesLongError):
            of_files(files, spec, steps)
