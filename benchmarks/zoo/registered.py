"""Custom Keras objects that register themselves when this is imported."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("zoo")
class Scaling(keras.layers.Layer):
    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="normal")

    def call(self, x: Any) -> Any:
        return x * self.scale


@keras.saving.register_keras_serializable("zoo")
class TwoLayers(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(5, activation="relu")
        self.second = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))
