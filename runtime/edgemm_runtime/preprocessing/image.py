"""The maker of samples: one sample of an input from an image file or a frame, as its `Preprocessing` says.

    sample = decode(data, manifest.preprocessing["image"])    # float32[height, width, channels], or channels first

The converter makes its samples of images by `decode` too, so that both have the same arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgemm.bundle.manifest import ChannelOrder, ImageFit, Layout, PadPlace, Preprocessing, Resize, ResizeKernel
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.preprocessing.image_decoding import MAX_PIXELS, decoded
from edgemm_runtime.preprocessing.resampling import resampled
from edgemm_runtime.tensors.named_arrays import Array

if TYPE_CHECKING:
    from PIL.Image import Image

_BLOCK = 1_000_000


def decode(data: bytes, steps: Preprocessing, *, most_pixels: int = MAX_PIXELS) -> Array:
    """Return one sample, float32, of an image file.

    Raises:
        BadRequestError: it is of another kind, damaged, too large or too deep, or Pillow is not installed.
    """
    return scaled(pixels(decoded(data, grey=is_grey(steps), most_pixels=most_pixels), steps), steps)


def is_grey(steps: Preprocessing) -> bool:
    """Tell whether an input is made of grey images."""
    return steps.channels is ChannelOrder.GRAY


def scaled(pixels: Array, steps: Preprocessing) -> Array:
    """Return (pixel × scale − mean) ÷ std in the declared order and layout, float32, computed in float64.

    `pixels` are uint8 [height, width, 3 (RGB) or 1 (grey)].
    """
    ordered = pixels[..., ::-1] if steps.channels is ChannelOrder.BGR else pixels
    height, width, depth = ordered.shape
    levels = np.arange(256, dtype=np.float64)[:, np.newaxis] * steps.scale
    levels = (levels - np.asarray(steps.mean or 0.0)) / np.asarray(steps.std or 1.0)
    table = np.broadcast_to(levels.astype(np.float32), (256, depth))  # what each pixel of each channel becomes
    hold(4 * ordered.size)
    made = np.empty((height, width, depth) if steps.layout is Layout.HWC else (depth, height, width), np.float32)
    planes = np.moveaxis(made, -1, 0) if steps.layout is Layout.HWC else made
    rows = max(1, _BLOCK // max(1, width))  # NumPy makes eight bytes of each index
    for channel, plane in enumerate(planes):
        for start in range(0, height, rows):
            plane[start : start + rows] = table[:, channel][ordered[start : start + rows, :, channel]]
    return made


def pixels(image: Image, steps: Preprocessing) -> Array:
    """Return an image of 8 bits in the declared size: uint8 [height, width, 3 (RGB) or 1 (grey)].

    `image` is RGB, or grey where that is declared.
    """
    if steps.resize is None:
        return _array(image)
    kernel, colour = steps.resize.kernel or ResizeKernel.ANTIALIAS, _colour(steps)
    if kernel is ResizeKernel.ANTIALIAS:
        return _array(_antialiased(image, steps.resize, colour=colour))
    return _resampled(_array(image), steps.resize, kernel=kernel, colour=colour)


def _array(image: Image) -> Array:
    found = np.asarray(image)
    return found if found.ndim == 3 else found[..., np.newaxis]


def _colour(steps: Preprocessing) -> tuple[int, ...]:
    """Return what is padded with, a number for each channel in the order of an image: RGB, or grey."""
    depth = 1 if steps.channels is ChannelOrder.GRAY else 3
    given = (steps.resize.pad_colour if steps.resize is not None else None) or (0,)
    colour = given * (depth if len(given) == 1 else 1)
    return colour[::-1] if steps.channels is ChannelOrder.BGR else colour


def _antialiased(image: Image, resize: Resize, *, colour: tuple[int, ...]) -> Image:
    """Return an image of the declared size, bilinear, each pixel over the area that it stands for."""
    from PIL import Image, ImageOps

    size, method = (resize.width, resize.height), Image.Resampling.BILINEAR
    if resize.fit is ImageFit.CROP:
        return ImageOps.fit(image, size, method=method)
    if resize.fit is ImageFit.PAD:
        centering = (0.0, 0.0) if resize.pad_place is PadPlace.TOP_LEFT else (0.5, 0.5)
        filling = colour if len(colour) > 1 else colour[0]
        return ImageOps.pad(image, size, method=method, color=filling, centering=centering)
    return image.resize(size, method)


def _resampled(pixels: Array, resize: Resize, *, kernel: ResizeKernel, colour: tuple[int, ...]) -> Array:
    """Return pixels of the declared size by another kernel, cropped as Pillow's `fit` does.

    Padding is that of YOLO's letterbox: sides are rounded, and of an odd number of lines the smaller half comes first.
    """
    size = (resize.width, resize.height)
    height, width = pixels.shape[:2]
    if resize.fit is ImageFit.CROP:
        kept = min(width / size[0], height / size[1])
        margins = (width - kept * size[0]) / 2, (height - kept * size[1]) / 2
        box = (*margins, width - margins[0], height - margins[1])
        return resampled(pixels, size=size, kernel=kernel, box=box)
    if resize.fit is not ImageFit.PAD:
        return resampled(pixels, size=size, kernel=kernel)
    inner = _contained(width, height, size)
    first = resize.pad_place is not PadPlace.TOP_LEFT
    left, top = ((whole - part) // 2 * first for whole, part in zip(size, inner, strict=True))
    made = np.empty((size[1], size[0], pixels.shape[2]), np.uint8)
    made[...] = colour
    made[top : top + inner[1], left : left + inner[0]] = resampled(pixels, size=inner, kernel=kernel)
    return made


def _contained(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of an image's own aspect ratio within `size`."""
    share = min(size[0] / width, size[1] / height)
    return max(1, round(width * share)), max(1, round(height * share))
