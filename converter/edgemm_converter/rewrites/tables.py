"""Lookups in tables of integers, rewritten as comparisons with all keys, or as one in a list where keys lie close.

A table lies outside of the graph, where no file can hold it. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites.values import Copy, Outside, Rules, Value

_FEW = 64
"""Up to so many keys, comparing with each is quick."""

_CLOSE = 16
"""A list may have so many places for each key."""


def _find(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    table, wanted, default = inputs
    if not isinstance(table, Outside):
        return None
    keys, values = _content(table, operation.get_attr("Tin"), operation.get_attr("Tout"))
    if keys.dtype.kind == "O":
        text = operation.inputs[1].op
        if text.type != "AsString" or not text.inputs[0].dtype.is_integer or text.get_attr("width") > 0:
            return None
        wanted = wanted.op.inputs[0]
        keys, values = _of_numbers(keys, values, wanted.dtype.as_numpy_dtype)
    order = np.argsort(keys, kind="stable")
    places = _places(wanted, keys[order])
    return [tf.gather(tf.concat([tf.expand_dims(default, 0), tf.constant(values[order])], axis=0), places)]


def _size(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    (table,) = inputs
    with tf.init_scope():
        size = int(tf.raw_ops.LookupTableSizeV2(table_handle=table.handle)) if isinstance(table, Outside) else None
    return None if size is None else [tf.constant(size, tf.int64)]


def _content(table: Outside, keys: Any, values: Any) -> tuple[Array, Array]:
    with tf.init_scope():
        found = tf.raw_ops.LookupTableExportV2(table_handle=table.handle, Tkeys=keys, Tvalues=values)
    return found.keys.numpy(), found.values.numpy()


def _of_numbers(keys: Array, values: Array, dtype: Any) -> tuple[Array, Array]:
    """Return the entries whose key is how an integer of that kind is written, with that integer as key."""
    limits = np.iinfo(dtype)
    numbers = {i: int(key) for i, key in enumerate(keys) if key.removeprefix(b"-").isdigit()}
    kept = [i for i, n in numbers.items() if str(n).encode() == keys[i] and limits.min <= n <= limits.max]
    return np.array([numbers[i] for i in kept], dtype), values[kept]


def _places(wanted: Any, keys: Array) -> Any:
    """Return for each wanted key its place among the sorted `keys`, counted from 1, and 0 where it is none of them."""
    if not len(keys):
        return tf.zeros(tf.shape(wanted), tf.int32)
    low, high = int(keys[0]), int(keys[-1])
    if len(keys) <= _FEW or high - low >= _CLOSE * len(keys):
        same = tf.cast(tf.equal(tf.expand_dims(wanted, -1), tf.constant(keys)), tf.int32)
        return tf.reduce_sum(same * tf.range(1, len(keys) + 1), axis=-1)
    listed = np.zeros(high - low + 1, np.int32)
    listed[keys - low] = np.arange(1, len(keys) + 1)
    first = tf.constant(low, wanted.dtype)
    inside = tf.logical_and(wanted >= first, wanted <= tf.constant(high, wanted.dtype))
    at = tf.cast(tf.where(inside, wanted - first, tf.zeros_like(wanted)), tf.int32)
    return tf.where(inside, tf.gather(tf.constant(listed), at), tf.zeros_like(at))


def _passed_on(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    return inputs if isinstance(inputs[0], Outside) else None


RULES: Rules = {"Identity": _passed_on, "LookupTableFindV2": _find, "LookupTableSizeV2": _size}
