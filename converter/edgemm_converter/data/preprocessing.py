"""The declaration of how inputs are made of images and class indices (`--preprocess FILE.toml`), read and checked.

[image]                      # the name of the input
resize = { width = 96, height = 96, fit = "crop", kernel = "bilinear" }
channels = "gray"
scale = 0.00392156862745098
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from edgemm import plain_text
from edgemm.bundle.manifest import (
    ChannelOrder,
    ImageFit,
    Layout,
    PadPlace,
    Preprocessing,
    Resize,
    ResizeKernel,
    TensorSpec,
)
from edgemm.errors import InputError
from edgemm.open_enum import OpenEnum
from edgemm_converter.data.arrays import Array, sample_shape

Declared: TypeAlias = Mapping[str, Preprocessing]
_WHITEST = 255.0
_LEAST_SLACK = 1e-6


def read(path: Path) -> dict[str, Preprocessing]:
    """Read a declaration: one table for each input that is declared.

    Raises:
        InputError: not TOML, or a table has a key or a value that is none.
    """
    try:
        tables = tomllib.loads(plain_text.read(path.read_bytes(), name=str(path)))
    except OSError as err:
        raise InputError(f"cannot read pre-processing {path}: {err.strerror}") from err
    except ValueError as err:
        raise InputError(f"{path}: expected TOML: {err}") from err
    if not tables:
        raise InputError(f"{path}: expected a table named after an input, such as [image]; found none")
    for name, table in tables.items():
        _check_keys(name, table, Preprocessing.__struct_fields__, path=path)
        if "resize" in table:
            _check_keys(f"{name}.resize", table["resize"], Resize.__struct_fields__, path=path)
            colour = table["resize"].get("pad_colour")
            table["resize"] |= {"pad_colour": [colour]} if isinstance(colour, int) else {}
    try:
        declared = msgspec.convert(tables, dict[str, Preprocessing])
    except msgspec.ValidationError as err:
        raise InputError(f"{path}: {err}") from err
    for name, steps in declared.items():
        _check_words(name, steps, path=path)
        check_numbers(name, steps, whose=str(path))
        _check_padding(name, steps, path=path)
    return {name: as_before(steps) for name, steps in declared.items()}


def as_before(steps: Preprocessing) -> Preprocessing:
    """Return the same steps without the words that say what is so without them: older runtimes know those."""
    if (resize := steps.resize) is None:
        return steps
    plain = replace(
        resize,
        kernel=UNSET if resize.kernel is ResizeKernel.ANTIALIAS else resize.kernel,
        pad_colour=resize.pad_colour if any(resize.pad_colour or ()) else UNSET,
        pad_place=UNSET if resize.pad_place is PadPlace.CENTRE else resize.pad_place,
    )
    return replace(steps, resize=plain)


def check(declared: Declared, inputs: tuple[TensorSpec, ...]) -> None:
    """Check that what is declared makes what the model takes.

    Raises:
        InputError: there is no such input, or it has another shape.
    """
    specs = {spec.name: spec for spec in inputs}
    for name, steps in declared.items():
        if name not in specs:
            raise InputError(f"pre-processing is declared for {name!r}; the model's inputs are {', '.join(specs)}")
        shape, made = sample_shape(specs[name]), made_shape(steps)
        if steps.one_hot is None and len(shape) == len(made) + 1 and shape[0] == 1:
            shape = shape[1:]  # a batch that is fixed at 1 is a batch
        fits = len(shape) == len(made) if steps.one_hot is None else bool(shape)
        pairs = zip(shape, made, strict=False) if steps.one_hot is None else [(shape[-1] if shape else 0, made[-1])]
        if not fits or any(-1 not in (wanted, found) and wanted != found for wanted, found in pairs):
            raise InputError(
                f"pre-processing of input {name!r} makes {_words(made)}, the model takes {_words(shape)}: change "
                "resize, channels, layout or one_hot"
            )


def made_shape(steps: Preprocessing) -> tuple[int, ...]:
    """Return the shape of one sample that the steps make; −1 where the image decides."""
    if steps.one_hot is not None:
        return (-1, steps.one_hot)
    height, width = (steps.resize.height, steps.resize.width) if steps.resize else (-1, -1)
    depth = 1 if steps.channels is ChannelOrder.GRAY else 3
    return (height, width, depth) if steps.layout is Layout.HWC else (depth, height, width)


def keeps_pixels(steps: Preprocessing) -> bool:
    """Tell whether an input has an image's pixels as they are, 0 to 255."""
    return steps.one_hot is None and steps.scale == 1 and not any(steps.mean) and all(std == 1 for std in steps.std)


def one_hot(indices: Array, *, depth: int, name: str, path: str) -> Array:
    """Return float32 rows with a single 1 for integers [samples, …].

    Raises:
        InputError: an integer is outside 0 to depth − 1.
    """
    if indices.size and (indices.min() < 0 or indices.max() >= depth):
        raise InputError(
            f"{path}: input {name!r}: expected integers from 0 to {depth - 1} (one_hot = {depth}), "
            f"found {indices.min()} to {indices.max()}"
        )
    return np.eye(depth, dtype=np.float32)[indices]


def check_range(values: Array, steps: Preprocessing, *, name: str, path: str) -> None:
    """Check that given values are ones that the declared steps can make of pixels.

    Raises:
        InputError: some lie outside, so these data or the declaration are of another scale.
    """
    ends = np.stack([(np.array([0.0, _WHITEST]) * steps.scale - m) / s for m, s in _pairs(steps)])
    low, high = float(ends.min()), float(ends.max())
    slack = max(_LEAST_SLACK, 0.01 * (high - low))
    if steps.one_hot is None and (values.min() < low - slack or values.max() > high + slack):
        raise InputError(
            f"{path}: input {name!r}: the declared pre-processing makes values from {low:g} to {high:g}, found "
            f"{values.min():g} to {values.max():g}: scale these data as the model's inputs are, or correct --preprocess"
        )


def _pairs(steps: Preprocessing) -> list[tuple[float, float]]:
    means, stds = steps.mean or (0.0,), steps.std or (1.0,)
    count = max(len(means), len(stds))
    return list(zip(means * (count if len(means) == 1 else 1), stds * (count if len(stds) == 1 else 1), strict=True))


def _check_keys(name: str, table: object, known: tuple[str, ...], *, path: Path) -> None:
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a table [{name}], found {table!r}")
    if unknown := sorted(set(table) - set(known)):
        raise InputError(f"{path}: [{name}] has {unknown[0]!r}; it may have {', '.join(known)}")


def _check_words(name: str, steps: Preprocessing, *, path: Path) -> None:
    """Refuse words that only a later version may know: what is declared here is for this one."""
    words: dict[str, OpenEnum] = {"channels": steps.channels, "layout": steps.layout}
    if resize := steps.resize:
        words |= {"resize.fit": resize.fit}
        words |= {"resize.kernel": resize.kernel} if resize.kernel else {}
        words |= {"resize.pad_place": resize.pad_place} if resize.pad_place else {}
    for what, word in words.items():
        if not word.known:
            known = ", ".join(type(word))
            raise InputError(f"{path}: {name}.{what}: Invalid enum value {word.value!r}; expected one of {known}")


def check_numbers(name: str, steps: Preprocessing, *, whose: str) -> None:
    """Check that there is a mean and a deviation for all channels or for each; `whose` says where they come from.

    Raises:
        InputError: there is not, or they stand beside `one_hot`.
    """
    depth = 1 if steps.channels is ChannelOrder.GRAY else 3
    for what, numbers in (("scale", (steps.scale,)), ("mean", steps.mean), ("std", steps.std)):
        if not all(map(math.isfinite, numbers)):
            raise InputError(f"{whose}: [{name}] {what}: expected finite numbers, found {list(numbers)}")
        if len(numbers) not in (0, 1, depth):
            raise InputError(f"{whose}: [{name}] {what}: expected 1 or {depth} numbers, found {len(numbers)}")
    if steps.one_hot is not None and steps != Preprocessing(one_hot=steps.one_hot):
        raise InputError(f"{whose}: [{name}] one_hot is of class indices: it cannot stand beside the steps of images")


def _check_padding(name: str, steps: Preprocessing, *, path: Path) -> None:
    depth = 1 if steps.channels is ChannelOrder.GRAY else 3
    if resize := steps.resize:
        if len(colour := resize.pad_colour or ()) not in (0, 1, depth):
            raise InputError(f"{path}: [{name}] pad_colour: expected 1 or {depth} numbers, found {len(colour)}")
        if resize.fit is not ImageFit.PAD and (resize.pad_colour or resize.pad_place):
            raise InputError(f'{path}: [{name}] pad_colour and pad_place are of fit = "pad", found "{resize.fit}"')


def _words(shape: tuple[int, ...]) -> str:
    return f"[{', '.join('any' if d == -1 else str(d) for d in shape)}]"
