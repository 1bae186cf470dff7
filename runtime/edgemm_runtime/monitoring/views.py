"""The views of an input that the committee's heads have: three for each modality, [samples, numbers] in float32. Pure.

Each head sees another side of the same input, so that a corruption that fools one does not fool all:

* image: its pixels, reduced to at most 12 × 12; the same without brightness and contrast; directions of its edges, 8 in
  each of 4 × 4 cells of at most 16 × 16 pixels.
* signal: its steps, reduced to at most 64; the same without offset and gain, each row by its own; its spectrum in 32
  bands.
* table: features by the reference's mean and deviation, cut off at 6; their hyperbolic tangent; their signed roots and
  ranks within the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgemm.monitoring.monitor_document import Modality, View

Array: TypeAlias = npt.NDArray[Any]

DIRECTIONS, CELLS = 8, 4
BANDS = 32
_FLAT_IMAGE, _FLAT_SIGNAL = 0.03, 0.1
_CUT, _WIDEST, _FARTHEST = 3.0, 6.0, 1e4
_KEPT_WEIGHTS, _MOST_WEIGHTS = 2**16, 2**22
"""How many weights are kept for the next request, and how many there may be: clients choose sizes."""


def views(view: View, inputs: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Return what each head sees of inputs [samples, …] by name; NaN and infinities are seen as 0.

    Raises:
        KeyError: an input of the view is missing.
        ValueError: they are of other sizes than those of the view, or too large.
    """
    if view.modality is Modality.IMAGE:
        return _of_image(view, pixels(view, inputs))
    if view.modality is Modality.SIGNAL:
        return _of_signal(view, steps(view, inputs))
    return _of_table(columns(view, inputs))


def pixels(view: View, inputs: Mapping[str, Array]) -> Array:
    """Return images [samples, rows, columns, channels] of 0 (black) to 1 (white), at their full size."""
    found = _finite(inputs[view.inputs[0]])
    if found.ndim == 3:
        found = found[..., None]
    elif view.channels_first:
        found = np.moveaxis(found, 1, -1)
    return np.asarray(np.clip((found - np.float32(view.low)) / np.float32(view.high - view.low), 0.0, 1.0))


def steps(view: View, inputs: Mapping[str, Array]) -> Array:
    """Return signals [samples, steps, channels] in deviations of the reference, cut off at 10,000."""
    found = _finite(inputs[view.inputs[0]])
    found = found[..., None] if found.ndim == 2 else found
    return _scaled(found, view, _FARTHEST)


def columns(view: View, inputs: Mapping[str, Array]) -> Array:
    """Return features [samples, features] in deviations of the reference, cut off at 6."""
    found = [_finite(inputs[name]) for name in view.inputs]
    flat = np.concatenate([array.reshape(len(array), -1) for array in found], axis=1)
    if view.features:
        flat = flat[:, list(view.features)]
    return _scaled(flat, view, _WIDEST)


def _of_image(view: View, images: Array) -> tuple[Array, Array, Array]:
    grey = images.mean(axis=-1, dtype=np.float32)
    small = reduced(images, view.rows, view.columns).reshape(len(images), -1)
    flat = reduced(grey[..., None], view.rows, view.columns).reshape(len(images), -1)
    mean, deviation = flat.mean(axis=1, keepdims=True), flat.std(axis=1, keepdims=True)
    level = np.clip((flat - mean) / (deviation + np.float32(_FLAT_IMAGE)), -_CUT, _CUT)
    return small, level, _directions(grey)


def _directions(grey: Array) -> Array:
    """Return how much of the edges in each cell has each direction."""
    rows, columns_ = (min(size // CELLS, CELLS) * CELLS or CELLS for size in grey.shape[1:])
    small = reduced(grey[..., None], rows, columns_)[..., 0]
    down, right = np.gradient(small, axis=1), np.gradient(small, axis=2)
    strength = np.hypot(down, right)
    place = ((np.arctan2(down, right) + np.pi) / (2 * np.pi) * DIRECTIONS).astype(np.int64) % DIRECTIONS
    found = np.zeros((len(grey), CELLS, CELLS, DIRECTIONS), np.float32)
    for direction in range(DIRECTIONS):
        there = np.where(place == direction, strength, np.float32(0.0))
        found[..., direction] = there.reshape(len(grey), CELLS, rows // CELLS, CELLS, columns_ // CELLS).sum(
            axis=(2, 4)
        )
    flat = found.reshape(len(grey), -1)
    return np.asarray(flat / (flat.sum(axis=1, keepdims=True) + np.float32(0.3)) * np.float32(DIRECTIONS))


def _of_signal(view: View, signals: Array) -> tuple[Array, Array, Array]:
    count = len(signals)
    small = reduced(signals[:, :, None, :], view.rows, 1)[:, :, 0, :]
    mean, deviation = small.mean(axis=1, keepdims=True), small.std(axis=1, keepdims=True)
    level = np.clip((small - mean) / (deviation + np.float32(_FLAT_SIGNAL)), -_CUT, _CUT)
    power = np.abs(np.fft.rfft(signals - signals.mean(axis=1, keepdims=True), axis=1)).astype(np.float32)[:, 1:]
    bands = reduced(power[:, :, None, :], min(BANDS, power.shape[1]), 1)[:, :, 0, :]
    spectrum = np.log1p(bands)
    return (
        np.clip(small, -_WIDEST, _WIDEST).reshape(count, -1),
        level.reshape(count, -1),
        spectrum.reshape(count, -1),
    )


def _of_table(features: Array) -> tuple[Array, Array, Array]:
    order = np.argsort(np.argsort(features, axis=1, kind="stable"), axis=1, kind="stable")
    ranks = order.astype(np.float32) / np.float32(max(1, features.shape[1] - 1))
    roots = np.sign(features) * np.sqrt(np.abs(features))
    return features, np.tanh(features), np.concatenate([roots, ranks], axis=1)


def reduced(images: Array, rows: int, columns_: int) -> Array:
    """Return images [samples, rows, columns, channels] at a smaller size: each pixel the mean of the area it covers."""
    found = images
    if found.shape[1] != rows:
        found = np.einsum("rh,nhwc->nrwc", _areas(found.shape[1], rows), found)
    if found.shape[2] != columns_:
        found = np.einsum("sw,nrwc->nrsc", _areas(found.shape[2], columns_), found)
    return np.asarray(found, np.float32)


def _areas(size: int, parts: int) -> Array:
    """Return the weights [parts, size] of the means of equal areas.

    Raises:
        ValueError: there would be too many of them.
    """
    if size * parts > _MOST_WEIGHTS:
        raise ValueError(f"{size:,} places in a row are too many to be reduced to {parts}")
    return (_kept_weights if size * parts <= _KEPT_WEIGHTS else _weights)(size, parts)


def _weights(size: int, parts: int) -> Array:
    edges, starts = np.linspace(0.0, size, parts + 1), np.arange(size)
    found = np.empty((parts, size), np.float32)
    for part in range(parts):
        covered = np.clip(np.minimum(edges[part + 1], starts + 1) - np.maximum(edges[part], starts), 0.0, None)
        found[part] = covered / covered.sum()
    return found


_kept_weights = lru_cache(maxsize=16)(_weights)


def _scaled(found: Array, view: View, most: float) -> Array:
    """Return numbers in deviations of the reference, cut off at `most`."""
    if found.shape[-1] != len(_numbers(view.centre)):
        raise ValueError(f"{found.shape[-1]} numbers, expected {len(_numbers(view.centre))}")
    with np.errstate(over="ignore"):
        return np.clip((found - _numbers(view.centre)) / _numbers(view.scale), -most, most)


def _finite(array: Array) -> Array:
    return np.nan_to_num(np.asarray(array, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=64)
def _numbers(data: bytes) -> Array:
    return np.frombuffer(data, "<f4").astype(np.float32)
