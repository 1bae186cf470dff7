"""Batches of image files and of frames become the very samples that each makes alone, within limits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle.manifest import (
    ChannelOrder,
    DType,
    ImageFit,
    Layout,
    Preprocessing,
    Resize,
    ResizeKernel,
    TensorSpec,
)
from edgemm.errors import BadRequestError, InputError, TooLargeError
from edgemm_runtime.preprocessing import image, image_inputs
from tests.unit.runtime.preprocessing.pictures import encoded

SPEC = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 8, 8, 3))
STEPS = Preprocessing(resize=Resize(width=8, height=8), scale=1 / 255)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
FILES = [encoded("PNG", frame) for frame in FRAMES]
SETTINGS = [
    STEPS,
    Preprocessing(),
    Preprocessing(resize=Resize(width=30, height=20), scale=2),
    Preprocessing(resize=Resize(width=9, height=4, fit=ImageFit.CROP), channels=ChannelOrder.BGR),
    Preprocessing(resize=Resize(width=9, height=14, fit=ImageFit.PAD), channels=ChannelOrder.GRAY, layout=Layout.CHW),
    Preprocessing(resize=Resize(width=9, height=4, kernel=ResizeKernel.AREA), mean=(1.0, 2.0, 3.0)),
]


def test_a_batch_is_its_files_one_by_one() -> None:
    found = image_inputs.of_files(FILES, SPEC, STEPS)
    assert np.array_equal(found, [image.decode(data, STEPS) for data in FILES])
    assert image_inputs.of_files(FILES[:1], SPEC, STEPS).shape == (1, 8, 8, 3)


@pytest.mark.parametrize("steps", SETTINGS)
def test_a_frame_is_the_file_that_it_would_be_saved_as(steps: Preprocessing, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(FILES[0])
    expected = image.decode(FILES[0], steps)
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, *expected.shape))
    clear = np.dstack([FRAMES[0], np.zeros((20, 30), np.uint8)])
    ways: list[Any] = [
        FRAMES[0], clear, FRAMES[0][::-1][::-1], Image.fromarray(FRAMES[0]), Image.fromarray(clear, "RGBA"), FILES[0],
        bytearray(FILES[0]), memoryview(FILES[0]), tmp_path / "a.png", str(tmp_path / "a.png"),
    ]  # fmt: skip
    for frame in ways:
        assert np.array_equal(image_inputs.of_frames([frame], spec, steps), [expected]), type(frame)
    assert np.array_equal(image_inputs.of_frames(ways, spec, steps), [expected] * len(ways))


def test_a_grey_frame_is_grey() -> None:
    grey = FRAMES[0, ..., 0]
    for steps, depth in ((STEPS, 3), (Preprocessing(resize=STEPS.resize, channels=ChannelOrder.GRAY), 1)):
        spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 8, 8, depth))
        expected = image.decode(encoded("PNG", grey), steps)
        for frame in (grey, grey[..., np.newaxis]):
            assert np.array_equal(image_inputs.of_frames([frame], spec, steps), [expected])


def test_a_frame_of_the_right_size_needs_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    frame = FRAMES[0, :8, :8]
    assert np.array_equal(image_inputs.of_frames([frame], SPEC, STEPS), [image.scaled(frame, STEPS)])
    with pytest.raises(BadRequestError, match=r"pip install 'edgemm\[images\]'"):
        image_inputs.of_frames([FRAMES[0]], SPEC, STEPS)


def test_a_batch_that_is_fixed_at_1_takes_one_image() -> None:
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(1, 8, 8, 3))
    assert image_inputs.of_files(FILES[:1], spec, STEPS).shape == (1, 8, 8, 3)
    with pytest.raises(BadRequestError, match=r"expected shape \[1, 8, 8, 3\]"):
        image_inputs.of_files(FILES, spec, STEPS)


@pytest.mark.parametrize(
    ("files", "steps", "error", "said"),
    [
        ([FILES[0], b"no", FILES[1]], STEPS, BadRequestError, "image 2 of 3: expected an image"),
        ([b"no"], STEPS, BadRequestError, "^expected an image"),
        ([], STEPS, BadRequestError, "at least one image, found none"),
        (FILES, None, BadRequestError, "does not declare"),
        (FILES, Preprocessing(one_hot=3), BadRequestError, "does not declare"),
        ([FILES[0], encoded("PNG", FRAMES[0, :5])], Preprocessing(), BadRequestError, "image 2 of 2: .*one size"),
        (FILES[:1] * 1025, STEPS, TooLargeError, "at most 1,024 images at once, found 1,025"),
    ],
)
def test_files_that_are_no_batch_are_refused(
    files: list[bytes], steps: Preprocessing | None, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        image_inputs.of_files(files, SPEC, steps)


def test_images_are_limited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_inputs, "MAX_TOGETHER_PIXELS", 1500)
    with pytest.raises(TooLargeError, match="the 3 images have 1,800 pixels, at most 1,500"):
        image_inputs.of_files(FILES, SPEC, STEPS)
    monkeypatch.setattr(image_inputs, "MAX_TOGETHER_PIXELS", 10_000)
    monkeypatch.setattr(image_inputs, "MAX_TOGETHER_BYTES", 2000)
    with pytest.raises(TooLargeError, match="the 3 images become"):
        image_inputs.of_files(FILES, SPEC, STEPS)
    assert len(image_inputs.of_files(FILES[:1], SPEC, STEPS)) == 1


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), 5, io.BytesIO()],
)
def test_what_is_no_frame_is_refused(frame: Any) -> None:
    with pytest.raises(BadRequestError, match="expected a"):
        image_inputs.of_frames([frame], SPEC, STEPS)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match="cannot read input"):
            image_inputs.of_frames([path], SPEC, STEPS)


def test_arrays_that_are_the_input_already_are_no_frames() -> None:
    pixels = TensorSpec(name="x", dtype=DType.UINT8, shape=(-1, 8, 8, 3))
    assert image_inputs.frames_in(np.zeros((2, 8, 8, 3), np.uint8), pixels, STEPS) is None
    assert image_inputs.frames_in(np.zeros((2, 8, 8, 3), np.float32), SPEC, STEPS) is None
    assert image_inputs.frames_in(np.zeros((2, 9, 9, 3), np.uint8), SPEC, None) is None
    assert image_inputs.frames_in([[1.0, 2.0]], SPEC, STEPS) is None
    found = image_inputs.frames_in(np.zeros((2, 9, 9, 3), np.uint8), pixels, STEPS)
    assert found is not None
    assert len(found) == 2
