"""Rewrites of Keras layers that an engine has no operation for, in effect while a model is traced for conversion.

The source that variants are compared with is never rewritten, so that a rewrite that is not equal is found. Imports
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

Call = Callable[..., Any]


@contextmanager
def in_effect(owner: Any) -> Iterator[None]:
    """Rewrite the layers of a Keras model for a while, and have functions in functions traced into the outer one.

    A function that is left to XLA, as Keras' grouped convolutions are, is opaque to converters.
    """
    layers = list(owner._flatten_layers()) if isinstance(owner, keras.Model) else []  # noqa: SLF001 - as Keras' exporters
    calls = {layer: _LAYERS[type(layer)](layer) for layer in layers if type(layer) in _LAYERS}
    rewritten = {layer: call for layer, call in calls.items() if call is not None}
    eager = tf.config.functions_run_eagerly()
    for layer, call in rewritten.items():
        layer.call = call
    tf.config.run_functions_eagerly(True)  # noqa: FBT003 - TensorFlow's own signature
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eager)
        for layer in rewritten:
            del layer.call


def _max_pooling_3d(layer: Any) -> Call | None:
    """Pool height and width, then depth: a maximum over a box is one over its sides in turn."""
    if layer.data_format != "channels_last":
        return None
    (d, h, w), (sd, sh, sw), padding = layer.pool_size, layer.strides, layer.padding.upper()

    def call(x: Any) -> Any:
        depth, height, width, channels = x.shape[1:]
        flat = tf.nn.max_pool2d(tf.reshape(x, (-1, height, width, channels)), (h, w), (sh, sw), padding)
        height, width = flat.shape[1:3]
        columns = tf.reshape(flat, (-1, depth, height * width, channels))
        pooled = tf.nn.max_pool2d(columns, (d, 1), (sd, 1), padding)
        return tf.reshape(pooled, (-1, pooled.shape[1], height, width, channels))

    return call


_LAYERS: Mapping[type, Callable[[Any], Call | None]] = {
    keras.layers.MaxPooling3D: _max_pooling_3d,
}
