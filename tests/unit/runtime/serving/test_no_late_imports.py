"""While a device serves, it imports nothing: with no file descriptor left it could not, and each import takes time."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import urllib3
from msgspec.structs import replace
from PIL import Image

from edgemm.bundle import write_bundle
from edgemm.bundle.manifest import ChannelOrder, Preprocessing, Resize
from simulators import free_size
from simulators.models import INPUT, make_bundle
from simulators.v2_client import encode_request
from tests.docs.serving import running

ROW = np.array([[0.5, -0.5, 0.25, 1.0]], np.float32)
TELL = """
import sys, os
_marker, _told = {marker!r}, {told!r}

def _note(event, arguments):
    if event == "import" and os.path.exists(_marker):
        with open(_told, "a") as file:
            file.write(arguments[0] + "\\n")

sys.addaudithook(_note)
"""


def png(mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (9, 7), 40).save(file, "PNG")
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", (9, 7), (1, 2, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def image_bundle(path: Path) -> None:
    """Write the bundle of a model whose input is made of images."""
    free_size.make_bundle(path)
    from edgemm.bundle import open_bundle

    with open_bundle(path) as source:
        blobs = {digest: source.read(digest) for digest in source.manifest.blobs}
        manifest = replace(
            source.manifest,
            preprocessing={
                free_size.INPUT: Preprocessing(resize=Resize(width=6, height=5), channels=ChannelOrder.GRAY)
            },
        )
    path.unlink()
    write_bundle(path, manifest, blobs)


@contextmanager
def noted(folder: Path, *bundles: Path) -> Iterator[tuple[str, Path]]:
    """Serve bundles; yield the address and the file of what is imported from then on."""
    marker, told = folder / "marker", folder / "told"
    (folder / "sitecustomize.py").write_text(TELL.format(marker=str(marker), told=str(told)))
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    told.touch()
    until = rf"{bundles[-1].stem.split('-')[0]} .*is served at (http://[\d.:]+)"
    with running(
        ["run", *map(str, bundles), "--port", "0"], until=until, env=os.environ | {"PYTHONPATH": path}
    ) as match:
        marker.touch()
        try:
            yield match[1], told
        finally:
            marker.unlink()


def requests() -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """Yield requests of every protocol and form, right ones and wrong ones."""
    rows = json.dumps(ROW.tolist()).encode()
    binary, length = encode_request({INPUT: ROW}, binary=True)
    v2, _ = encode_request({INPUT: ROW})
    infer, sized = "/v2/models/tiny/infer", {"Inference-Header-Content-Length": str(length)}
    for path in (
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/",
        "/v2/",
        "/v2/models/stats",
        "/v2/models/tiny",
        "/shadow",
    ):
        yield "GET", path, b"", {}
    for path in ("/v2/models/tiny/config", "/v1/models/tiny", "/v1/models/tiny/metadata", "/none", "/a//b?c=%zz"):
        yield "GET", path, b"", {}
    for method in ("HEAD", "OPTIONS", "DELETE", "PUT"):
        yield method, "/predict/tiny", b"", {}
    for body in (
        rows,
        b"[[1,2,3,4e39]]",
        b"[[1]]",
        b"{",
        b"\xff",
        b'["a"]',
        b'{"inputs":{"x":[[1,2,3,4]]}}',
        b"[" * 99999,
    ):
        yield "POST", "/predict/tiny", body, {}
        yield "POST", "/v1/models/tiny:predict", b'{"instances":' + body + b"}", {}
        yield "POST", "/v1/models/tiny:classify", b'{"examples":[{"x":[1,2,3,4]}]}', {}
        yield "POST", infer, body, {}
    yield "POST", "/predict/tiny?top=2&top=a", rows, {}
    yield "POST", "/v1/models/tiny:predict", b'{"instances":[[NaN,2,3,Infinity]]}', {}
    yield "POST", infer, v2, {}
    yield "POST", infer, binary, sized
    yield "POST", infer, binary[:-1], sized
    yield "POST", infer, binary, {"Inference-Header-Content-Length": "-1"}
    for encoding in ("gzip", "deflate", "br"):
        yield (
            "POST",
            "/predict/tiny",
            zlib.compress(rows, wbits=31 if encoding == "gzip" else 15),
            {"Content-Encoding": encoding},
        )
    yield "POST", "/predict/tiny", json.dumps(ROW.repeat(3000, axis=0).tolist()).encode(), {"Accept-Encoding": "gzip"}
    for body in (b"1,2,3,4\n5,6,7,8\n", b"a,b,c,d\n", b'"1,2\n'):
        yield "POST", "/predict/tiny", body, {"Content-Type": "text/csv"}
    timed = json.dumps(json.loads(v2) | {"parameters": {"timeout": 10**7}}).encode()
    yield "POST", infer, timed, {}
    yield "POST", "/v2/feedback", b'{"id":"a","label":"ant"}', {}
    yield "POST", "/v2/repository/index", b"{}", {}
    for data in (png(), png("RGBA"), png("P"), jpeg(), png()[:60], jpeg()[:200], b"GIF89a", b""):
        yield "POST", "/predict/edges", data, {"Content-Type": "image/png"}
        body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' + data + b"\r\n--b--\r\n"
        yield "POST", "/predict/edges", body, {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.slow
def test_nothing_is_imported_while_it_serves(tmp_path: Path) -> None:
    tiny, edges = tmp_path / "tiny-1.0.0.edgemm", tmp_path / "edges-1.0.0.edgemm"
    make_bundle(tiny)
    image_bundle(edges)
    with noted(tmp_path, tiny, edges) as (address, told):
        statuses = set()
        for method, path, body, headers in requests():
            reply = urllib3.request(method, address + path, body=body, headers=headers, retries=False)
            statuses.add(reply.status)
        assert {200, 400, 404, 405, 413} - {413} <= statuses
        assert told.read_text().split() == []
