"""The decoder of images: makes one sample of an input from a JPEG or PNG, as its `Preprocessing` says.

    sample = decode(data, manifest.preprocessing["image"])    # float32[height, width, channels], or channels first

Pillow is loaded when it is needed.
"""

from __future__ import annotations

import io

import numpy as np

from edgemm.bundle.manifest import ChannelOrder, ImageFit, Layout, Preprocessing
from edgemm.errors import BadRequestError
from edgemm_runtime.engines.interface import Array

MAX_PIXELS = 25_000_000
"""The largest image that is decoded: a few kilobytes of PNG can claim far more than a Pi has memory for."""
_FORMATS = ("JPEG", "PNG")


def decode(data: bytes, steps: Preprocessing) -> Array:
    """Return one sample, float32, of an image file.

    Raises:
        BadRequestError: it is no JPEG or PNG, damaged or too large, or Pillow is not installed.
    """
    return scaled(_pixels(data, steps), steps)


def scaled(pixels: Array, steps: Preprocessing) -> Array:
    """Return (pixel × scale − mean) ÷ std in the declared order and layout, float32, computed in float64.

    `pixels` are uint8 [height, width, 3 (RGB) or 1 (grey)].
    """
    values = pixels[..., ::-1] if steps.channels is ChannelOrder.BGR else pixels
    values = values.astype(np.float64) * steps.scale
    values = (values - np.asarray(steps.mean or 0.0)) / np.asarray(steps.std or 1.0)
    made = values if steps.layout is Layout.HWC else np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(made, dtype=np.float32)


def _pixels(data: bytes, steps: Preprocessing) -> Array:
    try:
        from PIL import Image, ImageOps
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
            image = ImageOps.exif_transpose(opened).convert("L" if steps.channels is ChannelOrder.GRAY else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise BadRequestError(f"expected a JPEG or PNG, found a damaged one or something else: {err}") from err
    if steps.resize is not None:
        fit = {ImageFit.CROP: ImageOps.fit, ImageFit.PAD: ImageOps.pad}.get(steps.resize.fit)
        size, method = (steps.resize.width, steps.resize.height), Image.Resampling.BILINEAR
        image = image.resize(size, method) if fit is None else fit(image, size, method=method)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
