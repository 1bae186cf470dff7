"""Images that are moved, turned or seen from another side, rewritten as lookups of pixels. Imports TensorFlow.

The places, and what is outside of the image, are computed as TensorFlow's kernel does (`image_ops.h`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rules, Value, known


def _projected(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """ImageProjectiveTransformV3, for images and results of a fixed size."""
    x, transforms, _, fill = inputs
    sizes, there = known(operation.inputs[2]), x.shape.as_list()[1:3]
    if sizes is None or None in there or x.dtype != tf.float32:
        return None
    down, across = (v.astype(np.float32).ravel() for v in np.indices(sizes.tolist()))
    a = [transforms[:, i : i + 1] for i in range(8)]
    depth = a[6] * across + a[7] * down + 1.0
    horizon = tf.equal(depth, 0.0)
    safe = tf.where(horizon, tf.ones_like(depth), depth)
    mode = operation.get_attr("fill_mode").decode()
    columns = _inside((a[0] * across + a[1] * down + a[2]) / safe, there[1], mode)
    rows = _inside((a[3] * across + a[4] * down + a[5]) / safe, there[0], mode)
    count = tf.shape(x)[:1]
    rows, columns = (tf.broadcast_to(v, tf.concat([count, [down.size]], 0)) for v in (rows, columns))
    pixels = _Pixels(x, there, fill)
    nearest = operation.get_attr("interpolation") == b"NEAREST"
    found = pixels.at(_rounded(rows), _rounded(columns)) if nearest else pixels.between(rows, columns)
    found = tf.where(horizon[..., tf.newaxis], fill, found)
    return [tf.reshape(found, tf.concat([count, sizes.astype(np.int32), [x.shape[-1]]], 0))]


def _rounded(x: Any) -> Any:
    """Round halves away from 0, as C does."""
    return tf.sign(x) * tf.floor(tf.abs(x) + 0.5)


def _inside(place: Any, size: int, mode: str) -> Any:
    """Move places outside of a side of an image into it; with CONSTANT they stay outside."""
    last = float(size - 1)
    if mode == "CONSTANT":
        return place
    if mode == "REFLECT":
        place = tf.where(place < 0.0, _below(place, size), tf.where(place > last, _above(place, size), place))
    elif mode == "WRAP":
        turns = tf.floor(tf.abs(place) / max(last, 1.0))
        moved = tf.where(place < 0.0, place + size * (turns + 1.0), place - size * turns)
        place = tf.where(tf.logical_or(place < 0.0, place > last), moved, place)
    return tf.clip_by_value(place, 0.0, last)


def _below(place: Any, size: int) -> Any:
    double = 2.0 * size
    place = tf.where(place < double, place + double * tf.floor(-place / double), place)
    return tf.where(place < -size, place + double, -place - 1.0)


def _above(place: Any, size: int) -> Any:
    double = 2.0 * size
    place -= double * tf.floor(place / double)
    return tf.where(place >= size, double - place - 1.0, place)


class _Pixels:
    """Images [batch, height, width, channels] whose pixels are looked up by places [batch, n]."""

    def __init__(self, images: Any, sides: Sequence[int], fill: Any) -> None:
        self._height, self._width = sides
        self._flat = tf.reshape(images, (-1, self._height * self._width, images.shape[-1]))
        self._fill = fill

    def at(self, rows: Any, columns: Any) -> Any:
        """Return the pixels [batch, n, channels] at whole places, and the fill value outside."""
        inside = (rows >= 0.0) & (rows < self._height) & (columns >= 0.0) & (columns < self._width)
        row = tf.clip_by_value(rows, 0.0, self._height - 1.0)
        column = tf.clip_by_value(columns, 0.0, self._width - 1.0)
        place = tf.cast(row * self._width + column, tf.int32)
        return tf.where(inside[..., tf.newaxis], tf.gather(self._flat, place, batch_dims=1), self._fill)

    def between(self, rows: Any, columns: Any) -> Any:
        """Return what is between four pixels."""
        top, left = tf.floor(rows), tf.floor(columns)
        upper, lower = (self._row(row, left, columns) for row in (top, top + 1.0))
        return (top + 1.0 - rows)[..., tf.newaxis] * upper + (rows - top)[..., tf.newaxis] * lower

    def _row(self, row: Any, left: Any, columns: Any) -> Any:
        first, second = self.at(row, left), self.at(row, left + 1.0)
        return (left + 1.0 - columns)[..., tf.newaxis] * first + (columns - left)[..., tf.newaxis] * second


TFLITE: Rules = {"ImageProjectiveTransformV3": _projected}
ONNX: Rules = TFLITE
