"""A bundle whose pre-processing has words of a later version: numbers are served, images are not."""

from __future__ import annotations

import io
import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle import open_bundle
from edgemm_runtime.serving.openapi.schemas import Body, request_body
from edgemm_runtime.serving.server import ModelServer
from simulators.models import Dense
from simulators.serving import serving
from tests.golden.unknown import path_of

ROW = np.array([[0.5, -1, 0.25, 1]], np.float32)
EXPECTED = Dense.random(5).predict(ROW)


def ask(server: ModelServer, body: bytes, content_type: str) -> tuple[int, dict[str, Any]]:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", "/predict", body, {"Content-Type": content_type})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


@pytest.mark.parametrize(("name", "word"), [("layout", "planes"), ("channels", "cmyk"), ("fit", "tile")])
def test_images_of_unknown_pre_processing_are_refused_and_numbers_are_not(name: str, word: str) -> None:
    png = io.BytesIO()
    Image.new("RGB", (2, 1)).save(png, "PNG")
    with serving(path_of(name)) as server:
        status, answer = ask(server, png.getvalue(), "image/png")
        assert status == 400
        assert f"input 'x' takes no images here: its pre-processing is declared with {name} '{word}'" in answer["error"]
        status, answer = ask(server, json.dumps({"inputs": ROW.tolist()}).encode(), "application/json")
        assert status == 200
        assert np.allclose(answer["outputs"]["scores"], EXPECTED, atol=1e-5)


def test_images_that_are_refused_are_not_described() -> None:
    with open_bundle(path_of("layout")) as bundle:
        assert "image/png" not in request_body(Body.ONLY, bundle.manifest)["content"]
