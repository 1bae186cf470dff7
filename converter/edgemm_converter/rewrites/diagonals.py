"""Diagonals of matrices, cross products and updates of slices, rewritten as choices by position. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rules, Value


def _diagonal_of(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Take one diagonal of matrices of a fixed size: a row of places in the flat matrix."""
    x, offset = inputs[0], _one_offset(inputs[1])
    rows, columns = x.shape[-2:]
    if offset is None or rows is None or columns is None:
        return None
    start = offset if offset >= 0 else -offset * columns
    length = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    flat = tf.reshape(x, tf.concat([tf.shape(x)[:-2], [rows * columns]], 0))
    return [tf.gather(flat, start + np.arange(length) * (columns + 1), axis=-1)]


def _matrix_of(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Put vectors of a fixed length onto one diagonal of square matrices."""
    x, offset, *sizes = inputs
    k, length = _one_offset(offset), x.shape[-1]
    if k is None or length is None:
        return None
    size = int(length) + abs(k)
    wanted = [tf.get_static_value(value) for value in sizes[:2]]
    if any(value is None or int(value) not in (-1, size) for value in wanted):
        return None
    place = np.eye(size, k=k) > 0
    rows = tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[max(-k, 0), max(k, 0)]])
    return [tf.where(place, rows[..., tf.newaxis], tf.cast(sizes[2], x.dtype))]


def _one_offset(tensor: Any) -> int | None:
    value = tf.get_static_value(tensor)
    return int(np.ravel(value)[0]) if value is not None and np.size(value) == 1 else None


def _cross(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    a, b = inputs
    (a1, a2), (b1, b2) = ([tf.gather(v, places, axis=-1) for places in ([1, 2, 0], [2, 0, 1])] for v in (a, b))
    return [a1 * b2 - a2 * b1]


def _broadcast_sizes(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """The sizes to which two tensors are broadcast, each as a vector of the same length: the larger one."""
    a, b = inputs
    if a.shape.rank != 1 or a.shape != b.shape or not a.shape.is_fully_defined():
        return None
    return [tf.maximum(a, b)]


def _one_hot(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Compare indices with each place: ONNX counts negative ones from the end, and here they are nowhere."""
    indices, depth, on, off = inputs
    rank = indices.shape.rank
    if rank is None:
        return None
    axis = operation.get_attr("axis") % (rank + 1)
    places = tf.reshape(tf.range(tf.cast(depth, indices.dtype)), [-1] + [1] * (rank - axis))
    return [tf.where(tf.equal(tf.expand_dims(indices, axis), places), on, off)]


def _updated(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Write an update of a fixed size into a tensor of a fixed size but for its batch, at a place that may vary."""
    x, update, start = inputs
    if update.shape.rank is None or None in update.shape.as_list() or None in x.shape.as_list()[1:]:
        return None
    inside = tf.ones((), tf.bool)
    for axis, size in enumerate(update.shape.as_list()):
        count = tf.shape(x)[axis]
        first = tf.clip_by_value(tf.cast(start[axis], tf.int32), 0, count - size)
        place = tf.range(count) - first
        update = tf.gather(update, tf.clip_by_value(place, 0, size - 1), axis=axis)
        here = tf.logical_and(place >= 0, place < size)
        inside = tf.logical_and(inside, tf.reshape(here, [-1] + [1] * (x.shape.rank - axis - 1)))
    return [tf.where(inside, update, x)]


_EVERYWHERE: Rules = {"Cross": _cross, "MatrixDiagV3": _matrix_of}
TFLITE: Rules = {**_EVERYWHERE, "MatrixDiagPartV3": _diagonal_of}
ONNX: Rules = {
    **_EVERYWHERE, "BroadcastArgs": _broadcast_sizes, "OneHot": _one_hot, "XlaDynamicUpdateSlice": _updated,
}  # fmt: skip
