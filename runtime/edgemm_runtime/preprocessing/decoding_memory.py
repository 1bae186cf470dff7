"""The memory that decoding an image file takes: upper bounds, as Pillow and its libraries make it. Pure.

Measured at 10 megapixels of each kind, as the growth of the process: Pillow keeps 4 bytes a pixel of colours and 1 of
grey. Beside that libwebp's animation decoder has two canvases and their copies, whether there is an animation or not;
libjpeg keeps all coefficients of a progressive image, 2 bytes each; libtiff inflates one strip or tile at a time, which
may be the whole image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemm_runtime.preprocessing import tiff_directory

if TYPE_CHECKING:
    from PIL.Image import Image

_WEBP_BYTES = 13
_COEFFICIENT_BYTES = 2
_TIFF_VALUE_BYTES = 2
_ONE_BYTE = {"1", "L", "P"}


def stored_bytes(image: Image) -> int:
    """Return what Pillow keeps an image in: a byte a pixel, but 4 of colours."""
    return int(image.width * image.height) * (1 if image.mode in _ONE_BYTE else 4)


def decoding_bytes(image: Image, *, mode: str) -> int:
    """Return what decoding an opened image takes at most, if it is not turned; `mode` is "L" or "RGB"."""
    pixels = int(image.width * image.height)
    converted = 0 if image.mode == mode else pixels * (1 if mode == "L" else 4)
    return stored_bytes(image) + converted + _working_bytes(image, pixels)


def _working_bytes(image: Image, pixels: int) -> int:
    """Return what the library of its kind needs until the pixels are there."""
    if image.format == "WEBP":
        return pixels * _WEBP_BYTES
    bands = len(image.getbands())
    if image.info.get("progressive"):
        return pixels * bands * _COEFFICIENT_BYTES
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        if tags.get(tiff_directory.COMPRESSION, 1) == 1:
            return 0
        tile = int(tags.get(tiff_directory.TILE_WIDTH, 0)) * int(tags.get(tiff_directory.TILE_LENGTH, 0))
        strip = min(image.height, int(tags.get(tiff_directory.ROWS_PER_STRIP, image.height))) * image.width
        value = _TIFF_VALUE_BYTES if "16" in image.mode else 1
        return (tile or strip) * bands * value
    return 0
