"""Positions in sorted numbers and counts of values, rewritten as sums of comparisons. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.rewrites.values import Copy, Rule, Rules, Value


def _bucketize(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """How many boundaries are no larger than x, for x as a float: that is how TensorFlow compares them."""
    boundaries = tf.constant(operation.get_attr("boundaries"), tf.float32)
    x = tf.cast(inputs[0], tf.float32)[..., tf.newaxis]
    return [_count(x >= boundaries, tf.int32)]


def _bound(compare: Callable[[Any, Any], Any]) -> Rule:
    """How many of the sorted numbers stand before x: LowerBound and UpperBound, row by row."""

    def write(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        ordered, x = inputs
        return [_count(compare(ordered[:, tf.newaxis, :], x[:, :, tf.newaxis]), operation.outputs[0].dtype)]

    return write


def _count(truths: Any, dtype: Any) -> Any:
    return tf.reduce_sum(tf.cast(truths, dtype), axis=-1)


def _bincount(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """How often, or by what weight in all, each number below a fixed size stands in a row."""
    x, _, weights = inputs
    count = operation.outputs[0].shape[-1]
    if count is None or x.shape.rank not in (1, 2):
        return None
    same = tf.equal(x[..., tf.newaxis], tf.range(int(count), dtype=x.dtype))
    if operation.get_attr("binary_output"):
        return [tf.cast(tf.reduce_any(same, axis=-2), operation.outputs[0].dtype)]
    each = tf.cast(same, operation.outputs[0].dtype)
    if weights.shape.num_elements() != 0:
        each *= weights[..., tf.newaxis]
    return [tf.reduce_sum(each, axis=-2)]


def _in_top_k(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Whether fewer than k scores are larger than the target's, which is a number as they are."""
    scores, targets, count = inputs
    classes = scores.shape[-1]
    if classes is None:
        return None
    chosen = tf.one_hot(targets, int(classes), on_value=True, off_value=False, dtype=tf.bool)
    own = tf.reduce_sum(tf.where(chosen, scores, 0.0), axis=-1, keepdims=True)
    within = tf.cast(_count(scores > own, tf.int32), count.dtype) < count
    inside = tf.logical_and(targets >= 0, targets < tf.cast(classes, targets.dtype))
    return [within & inside & tf.reduce_all(tf.math.is_finite(own), axis=-1)]


def _running_product(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Multiply by what stands 1, 2, 4, … places before: Hillis and Steele, "Data Parallel Algorithms" (1986)."""
    x, axis = inputs[0], tf.get_static_value(inputs[1])
    if axis is None or x.shape.rank is None or x.shape[int(axis)] is None:
        return None
    axis, size = int(axis) % x.shape.rank, int(x.shape[int(axis)])
    backwards = operation.get_attr("reverse")
    if operation.get_attr("exclusive"):
        x = _moved(x, axis, 1, backwards=backwards)
    step = 1
    while step < size:
        x, step = x * _moved(x, axis, step, backwards=backwards), 2 * step
    return [x]


def _moved(x: Any, axis: int, step: int, *, backwards: bool) -> Any:
    """Move values along an axis by some places; ones come in."""
    size = int(x.shape[axis])
    kept = [slice(None)] * x.shape.rank
    kept[axis] = slice(step, None) if backwards else slice(0, size - step)
    edge = np.zeros((x.shape.rank, 2), int)
    edge[axis] = (0, step) if backwards else (step, 0)
    return tf.pad(x[tuple(kept)], edge, constant_values=tf.constant(1, x.dtype))


_EVERYWHERE: Rules = {
    "Cumprod": _running_product,
    "InTopKV2": _in_top_k,
    "LowerBound": _bound(tf.less),
    "UpperBound": _bound(tf.less_equal),
}
TFLITE: Rules = {**_EVERYWHERE, "DenseBincount": _bincount}
ONNX: Rules = {**_EVERYWHERE, "Bucketize": _bucketize, "DenseBincount": _bincount}
