"""Pooled volumes, and convolutions that are transposed or dilated, written in those that an engine has.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites.values import Copy, Rules, Value, known

_CHANNELS_LAST = (b"NDHWC", b"NHWC")
_SIDES = 3


def _pooled(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Pool height and width, then depth: a maximum or a mean over a box is one over its sides in turn.

    The mean leaves out what is padded, side by side as in the box.
    """
    x = inputs[0]
    if operation.get_attr("data_format") not in _CHANNELS_LAST or None in x.shape.as_list()[1:]:
        return None
    pool = tf.nn.max_pool2d if operation.type == "MaxPool3D" else tf.nn.avg_pool2d
    padding = operation.get_attr("padding").decode()
    (_, d, h, w, _), (_, sd, sh, sw, _) = operation.get_attr("ksize"), operation.get_attr("strides")
    depth, height, width, channels = x.shape[1:]
    flat = pool(tf.reshape(x, (-1, height, width, channels)), (h, w), (sh, sw), padding)
    height, width = flat.shape[1:3]
    columns = pool(tf.reshape(flat, (-1, depth, height * width, channels)), (d, 1), (sd, 1), padding)
    return [tf.reshape(columns, (-1, columns.shape[1], height, width, channels))]


def _transposed(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Write a transposed convolution without dilation or gaps: with zeros inside its kernel, and all that it reaches.

    What it reaches is then cut to the size that is wanted, or padded with zeros where no kernel reaches it.
    """
    output_shape, kernel, x = inputs
    weights, sizes = known(kernel), operation.outputs[0].shape.as_list()[1:-1]
    if operation.get_attr("data_format") not in _CHANNELS_LAST or weights is None or None in x.shape.as_list()[1:]:
        return None
    if None in sizes:
        return None
    strides, rates = (list(operation.get_attr(name))[1:-1] for name in ("strides", "dilations"))
    same = operation.get_attr("padding") == b"SAME"
    spans = [(size - 1) * rate + 1 for size, rate in zip(weights.shape, rates, strict=False)]
    there = x.shape.as_list()[1:-1]
    usual = [n * s if same else (n - 1) * s + k for n, s, k in zip(there, strides, spans, strict=True)]
    usual_spans = all(k >= s for k, s in zip(spans, strides, strict=True))
    if sizes == usual and set(rates) == {1} and usual_spans:
        return None
    reached = [(n - 1) * s + k for n, s, k in zip(there, strides, spans, strict=True)]
    ahead = [max(r - size, 0) // 2 if same else 0 for r, size in zip(reached, sizes, strict=True)]
    channels = int(weights.shape[-2])
    batch = tf.cast(output_shape[:1], tf.int32) if x.shape[0] is None else tf.constant([int(x.shape[0])], tf.int32)
    shape = tf.concat([batch, [*reached, channels]], 0)
    found = _full(x, tf.constant(_with_gaps(weights, rates)), shape, strides=strides)
    found = found[(slice(None), *(slice(a, a + size) for a, size in zip(ahead, sizes, strict=True)))]
    missing = [a + size - r for a, size, r in zip(ahead, sizes, reached, strict=True)]
    edges = [[0, 0], *([0, max(more, 0)] for more in missing), [0, 0]]
    return [tf.pad(found, edges) if np.any(edges) else found]


def _full(x: Any, kernel: Any, shape: Any, *, strides: Sequence[int]) -> Any:
    every = [1, *strides, 1]
    if len(strides) == 2:
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=shape, filter=kernel, out_backprop=x, strides=every, padding="VALID"
        )
    return tf.raw_ops.Conv3DBackpropInputV2(
        input_sizes=shape, filter=kernel, out_backprop=x, strides=every, padding="VALID"
    )


def _with_gaps(weights: Array, rates: Sequence[int]) -> Array:
    """Return a kernel with zeros between its values, which does what a dilated one does."""
    spans = [(size - 1) * rate + 1 for size, rate in zip(weights.shape, rates, strict=False)]
    found = np.zeros((*spans, *weights.shape[len(rates) :]), weights.dtype)
    found[tuple(slice(None, None, rate) for rate in rates)] = weights
    return found


def _dilated_convolution(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """Write a dilated convolution of volumes with zeros inside its kernel.

    TensorFlow deals the volume out to as many small ones as the rate says. Here it stays whole, padded, until the
    small results are put together.
    """
    x, rates, edges = inputs[0], *(tf.get_static_value(tensor) for tensor in inputs[1:])
    takers = operation.outputs[0].consumers()
    if rates is None or edges is None or len(rates) != _SIDES or any(taker.type != "Conv3D" for taker in takers):
        return None
    return [tf.pad(x, [[0, 0], *edges.tolist(), [0, 0]])]


def _undealt(operation: Any) -> Array | None:
    """Return the rates of a convolution of what SpaceToBatchND deals out."""
    dealt = operation.inputs[0].op
    rates = tf.get_static_value(dealt.inputs[1]) if dealt.type == "SpaceToBatchND" else None
    return rates if rates is not None and len(rates) == _SIDES else None


def _convolution(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    rates, weights = _undealt(operation), known(inputs[1])
    if rates is None or weights is None:
        return None
    kernel = tf.constant(_with_gaps(weights, rates.tolist()))
    return [tf.nn.conv3d(inputs[0], kernel, operation.get_attr("strides"), "VALID")]


def _put_together(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    cut = tf.get_static_value(inputs[2])
    if operation.inputs[0].op.type != "Conv3D" or cut is None or _undealt(operation.inputs[0].op) is None:
        return None
    return [inputs[0][(slice(None), *(slice(first, -last or None) for first, last in cut.tolist()))]]


TFLITE: Rules = {
    "AvgPool3D": _pooled,
    "BatchToSpaceND": _put_together,
    "Conv3D": _convolution,
    "MaxPool3D": _pooled,
    "SpaceToBatchND": _dilated_convolution,
    "Conv2DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
}
ONNX: Rules = {"Conv2DBackpropInput": _transposed, "Conv3DBackpropInputV2": _transposed}
