"""`edgemm_runtime.load`: a program gives frames, images, paths or numbers, and asks for labels."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgemm_runtime
from edgemm.errors import BadRequestError, InputError
from edgemm_runtime.preprocessing import image
from simulators.models import Dense, make_bundle
from tests.docs.camera_model import COLOURS, STEPS, write_colour_bundle
from tests.unit.runtime.preprocessing.pictures import encoded, tiff

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
EXPECTED = image.decode(encoded("PNG", FRAME), STEPS).mean(axis=(0, 1))


@pytest.fixture
def camera(tmp_path: Path) -> edgemm_runtime.Model:
    write_colour_bundle(tmp_path / "camera.edgemm", steps=STEPS)
    (tmp_path / "frame.png").write_bytes(encoded("PNG", FRAME))
    return edgemm_runtime.load(tmp_path / "camera.edgemm")


@pytest.mark.parametrize(
    "give",
    [
        lambda _: FRAME,
        lambda _: Image.fromarray(FRAME),
        lambda folder: folder / "frame.png",
        lambda folder: str(folder / "frame.png"),
        lambda folder: (folder / "frame.png").read_bytes(),
        lambda _: {"frame": FRAME},
        lambda _: image.decode(encoded("PNG", FRAME), STEPS)[np.newaxis],
        lambda _: image.decode(encoded("PNG", FRAME), STEPS)[np.newaxis].tolist(),
    ],
)
def test_all_ways_to_give_an_image_are_one(
    camera: edgemm_runtime.Model, tmp_path: Path, give: Callable[[Path], Any]
) -> None:
    outputs = camera.predict(give(tmp_path))
    assert np.allclose(outputs["colour"], [EXPECTED], atol=1e-5)
    [[best]] = camera.top(outputs)
    assert best.label == COLOURS[int(EXPECTED.argmax())]
    assert best.score == pytest.approx(float(EXPECTED.max()), abs=1e-5)


def test_several_images_are_a_batch(camera: edgemm_runtime.Model, tmp_path: Path) -> None:
    for given in ([FRAME, tmp_path / "frame.png"], (FRAME, Image.fromarray(FRAME)), np.stack([FRAME, FRAME])):
        outputs = camera.predict(given)
        assert np.allclose(outputs["colour"], [EXPECTED, EXPECTED], atol=1e-5)
        tops = camera.top(outputs, 2)
        order = np.argsort(-EXPECTED)
        assert [[top.label for top in sample] for sample in tops] == [[COLOURS[index] for index in order[:2]]] * 2


def test_without_labels_or_scores_there_is_no_best(tmp_path: Path) -> None:
    write_colour_bundle(tmp_path / "camera.edgemm", steps=STEPS, labels=None)
    model = edgemm_runtime.load(tmp_path / "camera.edgemm")
    assert model.top(model.predict(FRAME)) == []


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_class_is_asked_for(camera: edgemm_runtime.Model, count: int) -> None:
    with pytest.raises(BadRequestError, match="at least 1"):
        camera.top(camera.predict(FRAME), count)


def test_numbers_are_as_before_and_wrong_ones_too(tmp_path: Path, camera: edgemm_runtime.Model) -> None:
    make_bundle(tmp_path / "tiny.edgemm")
    tiny = edgemm_runtime.load(tmp_path / "tiny.edgemm", variant="tflite:float32")
    x = np.array([[0.5, -0.25, 0.125, 1]], np.float32)
    for given in (x, x.tolist(), {"x": x}, x.astype(np.float64), x.astype(np.float16), x[0], x[0].tolist()):
        assert np.allclose(tiny.predict(given)["scores"], Dense.random(0).predict(x), atol=1e-5)
    for model, wrong, said in (
        (tiny, np.full((1, 4), 1e300), "1e.300 is out of the range of float32"),
        (tiny, np.zeros((1, 4), np.complex64), "expected float32 values, found complex64"),
        (tiny, np.array([["a"] * 4]), "expected float32 values, found texts"),
        (tiny, "frame.png", "does not declare"),
        (camera, np.zeros((1, 31, 32, 3), np.float32), "expected shape"),
        (camera, np.zeros((48, 64, 3), np.uint16), "expected float32, or uint8 pixels, found uint16"),
        (camera, b"nothing", "expected an image"),
    ):
        with pytest.raises(BadRequestError, match=said):
            model.predict(wrong)
    with pytest.raises(InputError, match=r"cannot read input none\.png"):
        camera.predict("none.png")


_PROGRAM = """
import sys
from pathlib import Path
import edgemm_runtime
folder = Path(sys.argv[1])
model = edgemm_runtime.load(folder / "camera.edgemm")
before = set(sys.modules)
for path in sorted(folder.glob("*.image")):
    model.predict(path.read_bytes())
print(sorted(set(sys.modules) - before))
"""


def test_nothing_is_left_to_load_when_the_first_image_comes(camera: edgemm_runtime.Model, tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        (tmp_path / f"{kind}.image").write_bytes(encoded(kind, FRAME))
    deep = tiff(np.zeros((4, 4, 1), np.uint16), tags={274: 6})
    (tmp_path / "deep.image").write_bytes(deep)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_a_picture_that_was_closed_or_is_cut_short_is_told(camera: edgemm_runtime.Model, tmp_path: Path) -> None:
    whole = encoded("JPEG", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "whole.jpg").write_bytes(whole)
    closed = Image.open(tmp_path / "whole.jpg")
    closed.close()
    with Image.open(tmp_path / "cut.jpg") as cut:
        for picture in (cut, closed):
            with pytest.raises(BadRequestError, match="closed, or its file is damaged or cut short"):
                camera.predict(picture)


@pytest.mark.parametrize("given", [None, io.BytesIO(b"x"), iter(())])
def test_what_is_no_number_is_named_by_its_type(camera: edgemm_runtime.Model, given: Any) -> None:
    with pytest.raises(BadRequestError, match=f"found a value of the type {type(given).__name__}"):
        camera.predict(given)
