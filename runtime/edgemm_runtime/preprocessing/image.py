"""The decoder of images: makes one sample of an input from a JPEG or PNG, as its `Preprocessing` says.

    sample = decode(data, manifest.preprocessing["image"])    # float32[height, width, channels], or channels first

Pillow is loaded when it is needed. The converter makes its samples of images by `pixels` and `scaled` too, so that both
have the same arrays.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from edgemm.bundle.manifest import ChannelOrder, ImageFit, Layout, Preprocessing
from edgemm.errors import BadRequestError
from edgemm_runtime.tensors.named_arrays import Array

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 25_000_000
"""The largest image that is decoded: a few kilobytes of PNG can claim far more than a Pi has memory for."""
_FORMATS = ("JPEG", "PNG")


def decode(data: bytes, steps: Preprocessing) -> Array:
    """Return one sample, float32, of an image file.

    Raises:
        BadRequestError: it is no JPEG or PNG, damaged or too large, or Pillow is not installed.
    """
    return scaled(_decoded(data, steps), steps)


def scaled(pixels: Array, steps: Preprocessing) -> Array:
    """Return (pixel × scale − mean) ÷ std in the declared order and layout, float32, computed in float64.

    `pixels` are uint8 [height, width, 3 (RGB) or 1 (grey)].
    """
    values = pixels[..., ::-1] if steps.channels is ChannelOrder.BGR else pixels
    values = values.astype(np.float64) * steps.scale
    values = (values - np.asarray(steps.mean or 0.0)) / np.asarray(steps.std or 1.0)
    made = values if steps.layout is Layout.HWC else np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(made, dtype=np.float32)


def pixels(image: Image, steps: Preprocessing) -> Array:
    """Return an opened image, upright, of the declared channels and size: uint8 [height, width, 3 (RGB) or 1 (grey)].

    Raises:
        OSError, ValueError, SyntaxError: it is damaged.
    """
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image).convert("L" if steps.channels is ChannelOrder.GRAY else "RGB")
    if steps.resize is not None:
        fit = {ImageFit.CROP: ImageOps.fit, ImageFit.PAD: ImageOps.pad}.get(steps.resize.fit)
        size, method = (steps.resize.width, steps.resize.height), Image.Resampling.BILINEAR
        upright = upright.resize(size, method) if fit is None else fit(upright, size, method=method)
    found = np.asarray(upright)
    return found if found.ndim == 3 else found[..., np.newaxis]


def _decoded(data: bytes, steps: Preprocessing) -> Array:
    try:
        from PIL import Image
    except ImportError as err:
        raise BadRequestError(
            "images are decoded by Pillow, which is not installed on this device: pip install 'edgemm[images]', "
            "or send numbers"
        ) from err
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise BadRequestError(
                    f"the image has {opened.width} × {opened.height} pixels, at most {MAX_PIXELS:,} are decoded: "
                    "send a smaller one"
                )
            return pixels(opened, steps)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise BadRequestError(f"expected a JPEG or PNG, found a damaged one or something else: {err}") from err
