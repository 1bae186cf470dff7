"""Models of other kinds than Keras 3's, saved the way users save them: `python -m simulators.keras2_models FOLDER`.

A program of its own, since tf-keras must be chosen before TensorFlow is imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="1")

with needs.imports(__name__, "converter"):
    import tensorflow as tf
    import tf_keras
    from tf_keras import layers


def build(folder: Path) -> None:
    tf_keras.utils.set_random_seed(7)
    _stack(layers.Lambda(lambda x: x * 2)).save(folder / "lambda2.h5")
    _two().save(folder / "two2.h5")
    _two().save(folder / "two2.keras")
    tf.saved_model.save(module := Plain(), str(folder / "plain"), signatures={
        "double": module.double.get_concrete_function(), "half": module.half.get_concrete_function(),
    })  # fmt: skip
    tf.saved_model.save(module, str(folder / "any-rank"), signatures=module.any_rank.get_concrete_function())


class Plain(tf.Module):
    """No Keras: two functions, neither of them the default, and one that takes any shape."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2.0 * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def half(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 0.5 * x}

    @tf.function(input_signature=[tf.TensorSpec(None, name="x")])
    def any_rank(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.relu(x)}


def _stack(layer: layers.Layer) -> tf_keras.Model:
    return tf_keras.Sequential([tf_keras.Input((3,), name="x"), layer, layers.Dense(2, name="y")])


def _two() -> tf_keras.Model:
    left, right = tf_keras.Input((4,), name="left"), tf_keras.Input((4,), name="right")
    both = layers.Concatenate()([left, layers.Rescaling(-1.0)(right)])
    return tf_keras.Model(
        {"right": right, "left": left}, {"zeta": layers.Dense(3)(both), "alpha": layers.Dense(3)(both)}
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
