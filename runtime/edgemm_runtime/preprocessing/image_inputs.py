"""The inputs that are made of images: of files, and of frames that a program holds in memory.

    of_files([data, …], spec, steps)    # the bytes of files, a sample each
    of_frames(frames, spec, steps)      # NumPy uint8 [height, width, 3], PIL images, paths or bytes

Server, `edgemm predict` and `edgemm_runtime.load` make their arrays here. Frames are in the order RGB, as files are; a
fourth channel, of transparency, is left out. The images of one request are limited together: in pixels, and in what
they become.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgemm.bundle.manifest import Preprocessing, TensorSpec
from edgemm.bundle.unknowns import of_preprocessing
from edgemm.errors import BadRequestError, InputError, TooLargeError
from edgemm_runtime.http import hurry
from edgemm_runtime.preprocessing import image, image_decoding
from edgemm_runtime.tensors.inputs import check_array, fits
from edgemm_runtime.tensors.named_arrays import Array

MAX_TOGETHER = 1024
"""Images of one request."""
MAX_TOGETHER_PIXELS = 4 * image_decoding.MAX_PIXELS
"""Pixels of all images of one request."""
MAX_TOGETHER_BYTES = 64 * 1024 * 1024
"""What several images of one request may become as an input."""
MAX_FILE_BYTES = 256 * 1024 * 1024
"""The largest file that is read from a path."""
T = TypeVar("T")


def takes_images(steps: Preprocessing | None) -> bool:
    """Tell whether a bundle declares how an input is made of images."""
    return steps is not None and steps.one_hot is None


def of_files(files: Sequence[bytes], spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return an input that is made of image files, one sample each.

    Raises:
        BadRequestError: the bundle does not declare how, one of them is no image, or the model takes another number.
        TooLargeError: they are too many or too large together.
        TakesLongError: they are several, or one is large, and this thread is in a hurry.
    """
    declared = _declared(spec, steps)
    if len(files) > MAX_TOGETHER:
        raise TooLargeError(f"expected at most {MAX_TOGETHER:,} images at once, found {len(files):,}: send fewer")
    if len(files) > 1:
        if hurry.here.hurried:
            raise hurry.TakesLongError("there are several images: try again later")
        pixels = sum(_each(files, image_decoding.pixel_count))
        if pixels > MAX_TOGETHER_PIXELS:
            raise TooLargeError(
                f"the {len(files)} images have {pixels:,} pixels, at most {MAX_TOGETHER_PIXELS:,} are decoded for one "
                "request: send fewer at once"
            )
    return _together(files, spec, lambda data: image.decode(data, declared))


def of_frames(frames: Sequence[Any], spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return an input that is made of frames, one sample each.

    Raises:
        BadRequestError: as `of_files`, or an array is no frame.
        InputError: a file cannot be read.
        TooLargeError: they are too many together.
    """
    declared = _declared(spec, steps)
    return _together(frames, spec, lambda frame: _sample(frame, declared))


def is_picture(value: Any) -> bool:
    """Tell whether a value is a path, the bytes of a file or an image of Pillow's: what can be nothing but an image."""
    if isinstance(value, str | bytes | bytearray | memoryview | os.PathLike):
        return True
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def frames_in(value: Any, spec: TensorSpec, steps: Preprocessing | None) -> Sequence[Any] | None:
    """Return the images that a program gives as an input; None where they are numbers.

    An array that has the input's dtype and shape is numbers, and so is one that is no uint8.
    """
    if isinstance(value, np.ndarray):
        if steps is None or value.dtype != np.uint8 or not 2 <= value.ndim <= 4:
            return None
        if spec.dtype.value == "uint8" and fits(spec.shape, value.shape):
            return None
        return list(value) if value.ndim == 4 else [value]
    if is_picture(value):
        return [value]
    if isinstance(value, list | tuple) and value:
        frame = steps is not None and isinstance(value[0], np.ndarray) and value[0].dtype == np.uint8
        return value if frame or is_picture(value[0]) else None
    return None


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise InputError(f"cannot read input {path}: {err.strerror or err}") from err
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path}: expected at most {MAX_FILE_BYTES // 2**20} MiB, found a larger file")
    return data


def _declared(spec: TensorSpec, steps: Preprocessing | None) -> Preprocessing:
    if steps is None or steps.one_hot is not None:
        raise BadRequestError(
            f"input {spec.name!r}: expected numbers, found an image, and the bundle does not declare how it becomes "
            "numbers: convert it with --preprocess"
        )
    if reason := of_preprocessing(steps):
        raise BadRequestError(f"input {spec.name!r} takes no images here: its pre-processing {reason}, or send numbers")
    return steps


def _together(given: Sequence[T], spec: TensorSpec, make: Callable[[T], Array]) -> Array:
    """Return the samples as one array of the input's dtype; a batch that the model does not have is left out."""
    if not given:
        raise BadRequestError(f"input {spec.name!r}: expected at least one image, found none")
    samples: list[Array] = []

    def made(one: T) -> Array:
        sample = make(one).astype(spec.dtype.value)
        if len(given) > 1 and len(given) * sample.nbytes > MAX_TOGETHER_BYTES:
            raise TooLargeError(
                f"the {len(given)} images become {len(given) * sample.nbytes / 2**20:,.0f} MiB, at most "
                f"{MAX_TOGETHER_BYTES // 2**20} are taken at once: send fewer"
            )
        if samples and sample.shape != samples[0].shape:
            raise BadRequestError(
                f"expected all images of one size, {list(samples[0].shape)}, found {list(sample.shape)}"
            )
        samples.append(sample)
        return sample

    _each(given, made)
    array = samples[0] if len(samples) == 1 and len(spec.shape) == samples[0].ndim else np.stack(samples)
    check_array(spec, array)
    return array


def _each(given: Sequence[T], do: Callable[[T], Any]) -> list[Any]:
    """Do the same with each image; of several, an error says which one it was."""
    done = []
    for number, one in enumerate(given, start=1):
        try:
            done.append(do(one))
        except BadRequestError as err:
            if len(given) == 1:
                raise
            raise BadRequestError(f"image {number} of {len(given)}: {err}") from err
    return done


def _sample(frame: Any, steps: Preprocessing) -> Array:
    if isinstance(frame, np.ndarray):
        return image.scaled(_pixels(frame, steps), steps)
    if isinstance(frame, str | os.PathLike):
        return image.decode(read_file(Path(frame)), steps)
    if isinstance(frame, bytes | bytearray | memoryview):
        return image.decode(bytes(frame), steps)
    if is_picture(frame):
        upright = image_decoding.of_picture(frame, grey=image.is_grey(steps))
        return image.scaled(image.pixels(upright, steps), steps)
    raise BadRequestError(
        "expected an image: an array uint8 [height, width, 3], a PIL image, a path or bytes, found "
        f"{type(frame).__name__}"
    )


def _pixels(frame: Array, steps: Preprocessing) -> Array:
    """Return a frame as pixels of the declared channels and size; one that has them already needs no Pillow."""
    if frame.ndim == 2:
        frame = frame[..., np.newaxis]
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in {1, 3, 4} or not frame.size:
        raise BadRequestError(
            f"expected a frame uint8 [height, width, 3 (RGB), 4 (RGBA) or 1 (grey)], found {frame.dtype} "
            f"{list(frame.shape)}"
        )
    frame = frame[..., :3]
    resize, depth = steps.resize, 1 if image.is_grey(steps) else 3
    if frame.shape[2] == depth and (resize is None or frame.shape[:2] == (resize.height, resize.width)):
        return frame
    return image.pixels(image_decoding.of_array(frame, grey=depth == 1), steps)
