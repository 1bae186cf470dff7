"""An image becomes the very array that it became at conversion; what is no image is refused in one line."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle.manifest import ChannelOrder, ImageFit, Layout, PadPlace, Preprocessing, Resize, ResizeKernel
from edgemm.errors import BadRequestError
from edgemm_converter.data import images
from edgemm_runtime.preprocessing import image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
SETTINGS = {
    "as it is": Preprocessing(),
    "scaled": Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)),
    "stretched": Preprocessing(resize=Resize(width=16, height=12)),
    "cropped": Preprocessing(resize=Resize(width=16, height=16, fit=ImageFit.CROP), channels=ChannelOrder.BGR),
    "padded, channels first": Preprocessing(
        resize=Resize(width=20, height=9, fit=ImageFit.PAD), layout=Layout.CHW, scale=0.1
    ),
    "bilinear": Preprocessing(resize=Resize(width=16, height=12, kernel=ResizeKernel.BILINEAR)),
    "area, cropped": Preprocessing(
        resize=Resize(width=16, height=16, fit=ImageFit.CROP, kernel=ResizeKernel.AREA), channels=ChannelOrder.BGR
    ),
    "nearest, padded, grey": Preprocessing(
        resize=Resize(width=20, height=9, fit=ImageFit.PAD, kernel=ResizeKernel.NEAREST, pad_colour=(114,)),
        channels=ChannelOrder.GRAY,
    ),
    "grey": Preprocessing(channels=ChannelOrder.GRAY, mean=(127.5,), std=(127.5,)),
}


def encoded(kind: str, pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_it_is_the_array_that_the_converter_makes(tmp_path: Path, setting: str, kind: str) -> None:
    data, steps = encoded(kind), SETTINGS[setting]
    (tmp_path / f"one.{kind.lower()}").write_bytes(data)
    expected = images.read(tmp_path, steps).samples[0]
    found = image.decode(data, steps)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_table_of_levels_is_the_formula_to_the_last_bit(setting: str) -> None:
    steps = SETTINGS[setting]
    pixels = PIXELS[..., :1] if steps.channels is ChannelOrder.GRAY else PIXELS
    ordered = pixels[..., ::-1] if steps.channels is ChannelOrder.BGR else pixels
    values = (ordered.astype(np.float64) * steps.scale - np.asarray(steps.mean or 0.0)) / np.asarray(steps.std or 1.0)
    expected = (values if steps.layout is Layout.HWC else np.moveaxis(values, -1, 0)).astype(np.float32)
    found = image.scaled(pixels, steps)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()
    assert found.flags.c_contiguous


@pytest.mark.parametrize("kernel", [*ResizeKernel])
@pytest.mark.parametrize("place", [*PadPlace])
def test_padding_has_its_colour_and_its_place(kernel: ResizeKernel, place: PadPlace) -> None:
    white = encoded("PNG", np.full((10, 20, 3), 255, np.uint8))
    resize = Resize(
        width=8, height=8, fit=ImageFit.PAD, kernel=kernel, pad_colour=(1, 2, 3), pad_place=place
    )  # of 4 lines, the image has 4
    found = image.decode(white, Preprocessing(resize=resize))
    kept = slice(0, 4) if place is PadPlace.TOP_LEFT else slice(2, 6)
    expected = np.full((8, 8, 3), (1, 2, 3), np.float32)
    expected[kept] = 255
    assert np.array_equal(found, expected)
    turned = image.decode(white, Preprocessing(resize=resize, channels=ChannelOrder.BGR))
    assert np.array_equal(turned, expected)  # the colour is in the order of the channels


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 500), (427, 640), (1, 1000), (77, 31)])
def test_a_letterbox_is_that_of_yolo(height: int, width: int) -> None:
    """Ultralytics: g = min(th ÷ h, tw ÷ w), sides round(h·g), first line round((th − nh) ÷ 2 − 0.1)."""
    white = encoded("PNG", np.full((height, width, 3), 255, np.uint8))
    resize = Resize(width=63, height=64, fit=ImageFit.PAD, kernel=ResizeKernel.BILINEAR, pad_colour=(114,))
    found = image.decode(white, Preprocessing(resize=resize))
    share = min(64 / height, 63 / width)
    sides = max(1, round(height * share)), max(1, round(width * share))
    top, left = round((64 - sides[0]) / 2 - 0.1), round((63 - sides[1]) / 2 - 0.1)
    expected = np.full((64, 63, 3), 114, np.float32)
    expected[top : top + sides[0], left : left + sides[1]] = 255
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("fit", [*ImageFit])
@pytest.mark.parametrize("size", [(16, 12), (9, 31), (50, 50)])
def test_all_kernels_keep_the_same_part_of_an_image(fit: ImageFit, size: tuple[int, int]) -> None:
    slopes = np.stack([np.add.outer(np.arange(30), np.arange(41)) * 2] * 3, axis=-1).astype(np.uint8)
    made = {
        kernel: image.decode(
            encoded("PNG", slopes), Preprocessing(resize=Resize(width=size[0], height=size[1], fit=fit, kernel=kernel))
        )
        for kernel in ResizeKernel
    }
    for kernel, found in made.items():
        assert np.abs(found - made[ResizeKernel.ANTIALIAS]).mean() < 2.5, kernel


def test_what_is_left_out_is_as_in_the_first_version() -> None:
    old = image.decode(encoded("PNG"), SETTINGS["padded, channels first"])
    named = Resize(
        width=20, height=9, fit=ImageFit.PAD, kernel=ResizeKernel.ANTIALIAS, pad_colour=(0,), pad_place=PadPlace.CENTRE
    )
    new = image.decode(encoded("PNG"), Preprocessing(resize=named, layout=Layout.CHW, scale=0.1))
    assert np.array_equal(old, new)


def test_a_camera_that_was_turned_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    found = image.decode(encoded("JPEG", exif=exif.tobytes()), Preprocessing())
    assert found.shape == (41, 30, 3)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    data = io.BytesIO()
    Image.new("1", (6_000, 5_000)).save(data, "PNG")
    assert len(data.getvalue()) < 200_000
    with pytest.raises(BadRequestError, match="6000 × 5000 pixels"):
        image.decode(data.getvalue(), Preprocessing())


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadRequestError, match=r"pip install 'edgemm\[images\]'"):
        image.decode(b"", Preprocessing())
