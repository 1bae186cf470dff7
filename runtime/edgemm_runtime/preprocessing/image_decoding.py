"""The one decoder of image files: from bytes to an upright image of 8 bits, grey or RGB.

Server, `edgemm predict`, `edgemm_runtime.load` and the converter read every image here, so that a file means the same
everywhere. What is not the same in all decoders is decided so:

* of 16 bits a value, the higher 8 count, as OpenCV and TensorFlow read PNG: white is 65535; of 12 bits, likewise;
* 32 bits, signed and floating-point values have no agreed white and are refused;
* transparency is left out: a pixel has the colour that the file says, as in Keras, TensorFlow and OpenCV;
* CMYK becomes RGB without a colour profile, and profiles are not applied;
* of several frames or pages, the first;
* a camera that was turned (EXIF) is turned back.

Pillow is loaded by the first model that takes images.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from edgemm.errors import BadRequestError
from edgemm_runtime.http import hurry
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.preprocessing import image_kinds, pillow_library, png_chunks, tiff_directory
from edgemm_runtime.preprocessing.decoding_memory import decoding_bytes, stored_bytes
from edgemm_runtime.preprocessing.image_kinds import ImageKind
from edgemm_runtime.tensors.named_arrays import Array

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 25_000_000
"""The largest image that is decoded: a few kilobytes of PNG can claim far more than a Pi has memory for."""
_FEW_PIXELS = 32 * 1024
"""An image is decoded, resized and scaled in some 50 ns a pixel."""
_ORIENTATION = 0x0112
MAX_SIDE = 65_535
"""The longest side, as in JPEG and GIF."""
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, LookupError, OverflowError, struct.error)
"""What Pillow raises of files that are not whole."""
_SAVE = "save it with 8 or 16 bits a value"


def decoded(data: bytes, *, grey: bool, most_pixels: int = MAX_PIXELS) -> Image:
    """Return the image in a file, upright, of 8 bits a value: grey, or RGB.

    Raises:
        BadRequestError: it is of another kind, damaged, too large or too deep, or Pillow is not installed.
        TakesLongError: it is large, and this thread is in a hurry.
    """
    kind = require_kind(data)
    from PIL import Image as Pillow

    try:
        _check_before_opening(data, kind, most_pixels=most_pixels)
        with Pillow.open(io.BytesIO(data), formats=[kind]) as opened:
            _check_size(opened, most_pixels=most_pixels)
            if hurry.here.hurried and opened.width * opened.height > _FEW_PIXELS:
                raise hurry.TakesLongError("the image is large: try again later")
            hold(decoding_bytes(opened, mode=_mode(grey=grey)))
            opened.load()
            return eight_bits(opened, grey=grey)
    except (*_DAMAGED, Pillow.DecompressionBombError) as err:
        raise BadRequestError(
            f"the {_describe(data, kind)} is damaged, cut short or of a sort that is not decoded: save it anew as JPEG "
            "or PNG"
        ) from err


def pixel_count(data: bytes) -> int:
    """Return how many pixels an image file says that it has, without decoding them.

    Raises:
        BadRequestError: it is of another kind or damaged, or Pillow is not installed.
    """
    kind = require_kind(data)
    from PIL import Image as Pillow

    try:
        _check_before_opening(data, kind, most_pixels=MAX_PIXELS)
        with Pillow.open(io.BytesIO(data), formats=[kind]) as opened:
            return int(opened.width * opened.height)
    except (*_DAMAGED, Pillow.DecompressionBombError) as err:
        raise BadRequestError(
            f"the {_describe(data, kind)} is damaged or cut short: save it anew as JPEG or PNG"
        ) from err


def require_kind(data: bytes) -> ImageKind:
    """Return what kind of image these bytes are, once Pillow is known to be there.

    Raises:
        BadRequestError: of none that is decoded, or Pillow is not installed.
    """
    pillow_library.require()
    if (kind := image_kinds.kind_of(data)) is None:
        raise BadRequestError(f"expected an image ({image_kinds.NAMES}), found {image_kinds.found(data)}")
    return kind


def of_array(frame: Array, *, grey: bool) -> Image:
    """Return a frame uint8 [height, width, 3 (RGB) or 1 (grey)] as an image, grey or RGB.

    Raises:
        BadRequestError: Pillow is not installed.
    """
    pillow_library.require()
    from PIL import Image as Pillow

    found = Pillow.fromarray(np.ascontiguousarray(frame[..., 0] if frame.shape[2] == 1 else frame))
    return found.convert(_mode(grey=grey))


def eight_bits(image: Image, *, grey: bool) -> Image:
    """Return an image of Pillow's, upright, as grey or RGB.

    Raises:
        BadRequestError: its values have no agreed white.
    """
    return _converted(_levels(_upright(image), image), grey=grey)


def of_picture(picture: Image, *, grey: bool) -> Image:
    """Return what a program opened or made with Pillow, which reads a file's pixels only now, as `eight_bits` does.

    Raises:
        BadRequestError: it was closed, its file is damaged, or its values have no agreed white.
    """
    try:
        picture.load()
    except _DAMAGED as err:
        raise BadRequestError("the PIL image was closed, or its file is damaged or cut short: open it anew") from err
    return eight_bits(picture, grey=grey)


def _upright(image: Image) -> Image:
    """Return an image as the camera was held; as it is where what says so is damaged."""
    from PIL import ImageOps

    with suppress(*_DAMAGED):
        if image.getexif().get(_ORIENTATION, 1) != 1:
            hold(stored_bytes(image))
            ImageOps.exif_transpose(image, in_place=True)
    return image


def _mode(*, grey: bool) -> str:
    return "L" if grey else "RGB"


def _converted(image: Image, *, grey: bool) -> Image:
    if image.mode.startswith("I") or image.mode == "F":
        what = {"I": "32-bit integer", "F": "32-bit floating-point"}.get(image.mode, "16-bit integer")
        raise BadRequestError(f"the image has {what} values, of which none is known to be white: {_SAVE}")
    whole = image.convert(image.mode.upper()) if image.mode in {"La", "RGBa"} else image
    mode = _mode(grey=grey)
    return whole if whole.mode == mode else whole.convert(mode)


def _check_size(opened: Image, *, most_pixels: int) -> None:
    width, height = opened.size
    if width * height > most_pixels or max(width, height) > MAX_SIDE:
        raise BadRequestError(
            f"the image has {width} × {height} pixels, at most {most_pixels:,} are decoded, and {MAX_SIDE:,} a side: "
            "send a smaller one"
        )


def _check_before_opening(data: bytes, kind: ImageKind, *, most_pixels: int) -> None:
    """Refuse what is too much to open, and hold what opening it takes.

    Raises:
        BadRequestError, TakesLongError: as `decoded`.
        ValueError: it is damaged.
    """
    if kind is ImageKind.TIFF:
        _check_tiff(data, most_pixels=most_pixels)
    elif kind is ImageKind.PNG and (count := png_chunks.inflated_count(data)) > 0:
        if hurry.here.hurried and count > 1:
            raise hurry.TakesLongError("the image has texts to inflate: try again later")
        hold(count * png_chunks.INFLATED_BYTES)


def _check_tiff(data: bytes, *, most_pixels: int) -> None:
    """Refuse what would take more memory than the pixels, and values without an agreed white.

    Raises:
        BadRequestError: it is such a file.
        ValueError: it is damaged.
    """
    directory = tiff_directory.read(data)
    if directory.claimed > len(data):
        raise ValueError("tags that lie on one another")
    values = directory.values
    if values.get(tiff_directory.TILE_WIDTH, 0) * values.get(tiff_directory.TILE_LENGTH, 0) > most_pixels:
        raise BadRequestError(f"the TIFF image has tiles of more than {most_pixels:,} pixels: save it anew")
    bits, form = values.get(tiff_directory.BITS, 1), values.get(tiff_directory.SAMPLE_FORMAT, 1)
    if bits > 16 or form != 1:
        what = {1: "integer", 2: "signed integer", 3: "floating-point"}.get(form, "other")
        raise BadRequestError(
            f"the TIFF image has {bits}-bit {what} values, of which none is known to be white: {_SAVE}"
        )
    plain = values.get(tiff_directory.COMPRESSION, 1) == 1
    if bits == 16 and plain and values.get(tiff_directory.PLANES, 1) == 2 and values.get(tiff_directory.SAMPLES, 1) > 1:
        # Pillow reads the planes as if their values had 8 bits.
        raise BadRequestError(
            "the TIFF image has 16-bit values in separate planes: save it with 8 bits, or interleaved"
        )


def _levels(image: Image, opened: Image) -> Image:
    """Return an image whose integers have 9 to 16 bits as one of 8 bits, any other as it is; `opened` has its tags."""
    from PIL import Image as Pillow

    if not image.mode.startswith("I;16") and (image.mode != "I" or opened.format != ImageKind.PNG):
        return image
    tags = getattr(opened, "tag_v2", {})  # of a TIFF
    bits = int(np.ravel(tags.get(tiff_directory.BITS, 16))[0])
    levels = (np.asarray(image) >> max(0, bits - 8)).astype(np.uint8)
    return Pillow.fromarray(255 - levels if tags.get(tiff_directory.PHOTOMETRIC) == 0 else levels)


def _describe(data: bytes, kind: ImageKind) -> str:
    """Return what a message calls an image that is not decoded."""
    if kind is not ImageKind.TIFF:
        return f"{kind} image"
    try:
        values = tiff_directory.read(data).values
    except ValueError:
        return "TIFF image"
    depth = f"{values.get(tiff_directory.SAMPLES, 1)} × {values.get(tiff_directory.BITS, 1)} bits a pixel"
    return f"TIFF image of {depth}"
