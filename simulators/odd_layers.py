"""Custom Keras layers: one must be named to be loaded, the others compute something else at each trace or call."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class PlainLayer(keras.layers.Layer):
    """Not registered with Keras."""

    def call(self, x: Any) -> Any:
        return x + 1.0


@keras.saving.register_keras_serializable("simulators")
class ImpureLayer(keras.layers.Layer):
    """Keeps state in Python, which each trace freezes at another value: what is converted is not what was run."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.traces = 0

    def call(self, x: Any) -> Any:
        self.traces += 1
        return x * float(self.traces)


@keras.saving.register_keras_serializable("simulators")
class CountingLayer(keras.layers.Layer):
    """Counts its calls in a variable of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x: Any) -> Any:
        self.count.assign(self.count + 1.0)
        return x + self.count


@keras.saving.register_keras_serializable("simulators")
class NoisyLayer(keras.layers.Layer):
    """Draws random numbers whenever it runs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)


@keras.saving.register_keras_serializable("simulators")
class QuietNoiseLayer(keras.layers.Layer):
    """Draws random numbers that are smaller than rounding, by an operation of TensorFlow."""

    def call(self, x: Any) -> Any:
        return x + 1e-9 * tf.random.normal(tf.shape(x))


@keras.saving.register_keras_serializable("simulators")
class FactorLayer(keras.layers.Layer):
    """Does what no engine has an operation for."""

    def call(self, x: Any) -> Any:
        return keras.ops.cholesky(keras.ops.diag(keras.ops.square(x[0]) + 1.0))[None, 0]
