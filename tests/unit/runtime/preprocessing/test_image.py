"""An image becomes the very array that it became at conversion; what is no image is refused in one line."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle.manifest import ChannelOrder, ImageFit, Layout, Preprocessing, Resize
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


def test_a_camera_that_was_turned_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    found = image.decode(encoded("JPEG", exif=exif.tobytes()), Preprocessing())
    assert found.shape == (41, 30, 3)


def test_grey_and_transparent_files_have_the_channels_that_are_declared() -> None:
    for mode in ("L", "RGBA", "P", "I;16"):
        data = io.BytesIO()
        Image.new(mode, (4, 3)).save(data, "PNG")
        assert image.decode(data.getvalue(), Preprocessing()).shape == (3, 4, 3)


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"0" * 50, encoded("PNG")[:200], encoded("JPEG")[:200], encoded("GIF")],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequestError, match="expected a JPEG or PNG"):
        image.decode(data, Preprocessing())


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
