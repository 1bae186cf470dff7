"""TFLite files of modules that write a `tf.Variable`: `python -m simulators.stateful_modules FOLDER`.

`stream` writes its variable in each inference, `branch` in a branch and `loop` in a loop, of which each is a subgraph
of its own. `reads` never writes, and `counts` writes what no output needs; `both` has `reads` and `stream` as two
signatures. What they compute follows from a fixed seed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")

with needs.imports(__name__, "converter"):
    import numpy as np
    import tensorflow as tf

_X = tf.TensorSpec((1, 4), tf.float32, name="x")


class Streaming(tf.Module):
    """A window of the last 3 inputs, and a score of it."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(11)
        self._kernel = tf.constant(random.normal(size=(12, 2)).astype(np.float32))
        self.count = tf.Variable(0.0, name="count")
        self.window = tf.Variable(random.normal(size=(1, 12)).astype(np.float32), name="window")

    @tf.function
    def stream(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        self.window.assign(tf.concat([self.window[:, 4:], x], axis=1))
        return {"score": tf.nn.softmax(self.window @ self._kernel)}

    @tf.function
    def branch(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        if tf.reduce_sum(x) > 0:
            self.window.assign(tf.concat([self.window[:, 4:], x], axis=1))
        return {"score": self.window @ self._kernel}

    @tf.function
    def loop(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        for _ in tf.range(2):
            self.window.assign(0.5 * self.window)
        return {"score": tf.concat([x, self.window[:, 4:]], axis=1) @ self._kernel}

    @tf.function
    def reads(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": (tf.concat([x, x, x], axis=1) + self.window) @ self._kernel}

    @tf.function
    def counts(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        self.count.assign_add(1.0)
        return {"score": tf.concat([x, x, x], axis=1) @ self._kernel}


def build(folder: Path) -> None:
    module = Streaming()
    for name in ("stream", "branch", "loop", "reads", "counts"):
        function = getattr(module, name).get_concrete_function(_X)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.experimental_enable_resource_variables = True
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    functions = [getattr(module, name).get_concrete_function(_X) for name in ("reads", "stream")]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, module)
    converter.experimental_enable_resource_variables = True
    (folder / "both.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    build(Path(sys.argv[1]))
