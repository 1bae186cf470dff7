"""Custom Keras layers: one that needs to be named to be loaded, and one that computes something else at each trace."""

from __future__ import annotations

from typing import Any

import keras


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
