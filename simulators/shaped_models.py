"""Models whose shapes are out of the ordinary, as users have them: `python -m simulators.shaped_models FOLDER`.

Scalars beside a batch, a state [layers, batch, units], rows that have a part in each other, a fixed batch, outputs as
long as the data say. It needs TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")

with needs.imports(__name__, "converter"):
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

SQUARE = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
_WIDE = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
_KERNEL = np.random.default_rng(2).normal(size=(3, 3, 3, 2)).astype(np.float32)
Outputs = dict[str, Any]


def build(folder: Path) -> None:
    keras.utils.set_random_seed(7)
    for name, (function, specs) in {**SERVED, "suppressed": VARYING["suppressed"]}.items():
        module = tf.Module()
        module.function = tf.function(function, input_signature=specs)
        tf.saved_model.save(module, str(folder / name), signatures=module.function.get_concrete_function())
    for name, (function, specs) in LITE.items():
        concrete = tf.function(function, input_signature=specs).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    _gru().save(folder / "gru.keras")
    _tempered().save(folder / "tempered.keras")
    _segmenting().save(folder / "segmenting.keras")
    _overflowing().save(folder / "overflowing.keras")


def _spec(name: str, shape: Sequence[int | None], dtype: str = "float32") -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def _scaled(x: Any, gain: Any) -> Outputs:
    return {"y": tf.matmul(x, SQUARE) * gain}


def _recurrent(x: Any, state: Any) -> Outputs:
    low, high = state[0], state[1]
    for step in range(3):
        low = tf.tanh(tf.matmul(x[:, step], _WIDE) + tf.matmul(low, SQUARE))
        high = tf.tanh(tf.matmul(low, SQUARE) + high)
    return {"y": high, "next_state": tf.stack([low, high])}


def _with_mean(x: Any) -> Outputs:
    return {"y": tf.matmul(x, SQUARE), "mean": tf.reduce_mean(x)}


def _classes(x: Any) -> Outputs:
    return {"scores": tf.nn.softmax(tf.matmul(x, SQUARE))}


def _suppressed(boxes: Any, scores: Any) -> Outputs:
    return {"kept": tf.image.non_max_suppression(boxes, scores, 5, 0.5, 0.1)}


def _padded(boxes: Any, scores: Any) -> Outputs:
    found = tf.image.non_max_suppression_padded(boxes, scores, 5, 0.5, 0.1, pad_to_max_output_size=True)
    return {"kept": tf.reshape(found[0], [5]), "count": tf.reshape(found[1], [1])}


_BOXES = (_spec("boxes", [20, 4]), _spec("scores", [20]))
SERVED: dict[str, tuple[Callable[..., Outputs], Sequence[Any]]] = {
    "scaled": (_scaled, [_spec("x", [None, 4]), _spec("gain", [])]),
    "recurrent": (_recurrent, [_spec("x", [None, 3, 3]), _spec("state", [2, None, 4])]),
    "with_mean": (_with_mean, [_spec("x", [None, 4])]),
    "eight": (_classes, [_spec("x", [8, 4])]),
    "no_width": (lambda x, more: {"y": tf.concat([x, more], 1)}, [_spec("x", [None, 4]), _spec("more", [None, 0])]),
}
VARYING: dict[str, tuple[Callable[..., Outputs], Sequence[Any]]] = {
    "suppressed": (_suppressed, _BOXES),
    "masked": (lambda x: {"hits": tf.boolean_mask(x, x > 0.5)}, [_spec("x", [None, 4])]),
    "places": (lambda x: {"places": tf.where(x > 0)}, [_spec("x", [None, 4])]),
    "words": (lambda x: {"words": tf.unique(x)[0]}, [_spec("x", [6], "int32")]),
    "counted": (lambda n: {"steps": tf.range(n)}, [_spec("n", [], "int32")]),
    "ragged": (
        lambda x, n: {"parts": tf.RaggedTensor.from_row_lengths(x, n).to_tensor()},
        [_spec("x", [6]), _spec("n", [3], "int32")],
    ),
    "parted": (
        lambda x: {"high": tf.dynamic_partition(x, tf.cast(x > 0, tf.int32), 2)[1]}, [_spec("x", [6])]
    ),
}  # fmt: skip
STEADY: dict[str, tuple[Callable[..., Outputs], Sequence[Any]]] = {
    "padded": (_padded, _BOXES),
    "summed": (lambda x: {"sum": tf.reduce_sum(tf.boolean_mask(x, x > 0.5))}, [_spec("x", [None, 4])]),
    "positions": (lambda x: {"y": x + tf.cast(tf.range(tf.shape(x)[1]), tf.float32)}, [_spec("x", [None, None])]),
    "best": (lambda x: {"best": tf.math.top_k(x, 2)[1]}, [_spec("x", [None, 4])]),
    "chosen": (lambda x: {"y": tf.where(x > 0, x, -x)}, [_spec("x", [None, 4])]),
}
"""Outputs whose length follows from their inputs, though the graph has operations of the other kind."""

LITE: dict[str, tuple[Callable[..., Outputs], Sequence[Any]]] = {
    "open": (lambda x: {"y": tf.nn.conv2d(x, _KERNEL, 1, "SAME")}, [_spec("x", [None, None, None, 3])]),
    "louder": (lambda x, gain: {"y": x * gain, "sum": tf.reduce_sum(x)}, [_spec("x", [1, 4]), _spec("gain", [])]),
    "lite_places": (lambda x: {"places": tf.where(x > 0)}, [_spec("x", [1, 6])]),
}


def _gru() -> Any:
    x, state = layers.Input((6, 3), name="x"), layers.Input((4,), name="state")
    return keras.Model([x, state], layers.Dense(2, name="y")(layers.GRU(4)(x, initial_state=state)))


def _tempered() -> Any:
    x, temperature = layers.Input((4,), name="x"), layers.Input(batch_shape=(), name="temperature")
    return keras.Model([x, temperature], layers.Softmax(name="y")(layers.Dense(3)(x) / temperature))


def _segmenting() -> Any:
    image = layers.Input((None, None, 3), name="image")
    half = layers.Conv2D(2, 3, strides=2, padding="same")(image)
    return keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear", name="back_up")(half))


def _overflowing() -> Any:
    x = layers.Input((4,), name="x")
    huge = layers.Dense(4, kernel_initializer=keras.initializers.Constant(3e38), name="huge")(layers.Dense(4)(x))
    return keras.Model(x, layers.Dense(2, name="y")(keras.ops.tanh(huge)))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
