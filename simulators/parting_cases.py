"""Converted files with one layer spoiled, and the layer that is found to differ: one JSON object on stdout.

`python -m simulators.parting_cases`: a program of its own, so that the tests' process stays without TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

with needs.imports(__name__, "converter"):
    import keras
    import numpy as np
    from keras import layers

    from edgemm_converter.export import onnx, tflite
    from edgemm_converter.parting import child as parting_worker
    from edgemm_converter.sources import keras3
    from edgemm_converter.sources.served_function import SourceFunction

_LIMIT = 1e-4


def _convolutions() -> keras.Model:
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="first")(image)
    x = layers.BatchNormalization(name="normal")(x)
    left = layers.Conv2D(5, 3, name="left")(x)
    right = layers.Conv2D(6, 3, padding="same", name="right")(x)
    pooled = [layers.GlobalAveragePooling2D()(y) for y in (left, right)]
    return keras.Model(image, layers.Dense(3, name="kind")(layers.Concatenate()(pooled)))


def _rewritten() -> keras.Model:
    film = keras.Input((6, 8, 8, 2), name="film")
    x = layers.Conv3D(3, 3, name="moving")(film)
    x = layers.Flatten()(layers.MaxPooling3D(2, name="pool")(x))
    return keras.Model(film, layers.Dense(4, activation="gelu", name="dense")(x))


def _recurrent() -> keras.Model:
    steps = keras.Input((7, 3), name="steps")
    x = layers.Dense(5, name="before")(steps)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both")(x)
    x = layers.GRU(6, name="gate")(x)
    return keras.Model(steps, layers.Dense(2, name="after")(x))


_CASES: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "convolutions": (_convolutions, ("first", "left", "right", "kind")),
    "rewritten": (_rewritten, ("moving", "dense")),
    "recurrent": (_recurrent, ("before", "both", "gate", "after")),
}


def found(model: keras.Model, layer: str) -> dict[str, str]:
    """Return the layer that is named for each engine, where files were made with other weights in `layer`."""
    rng, shapes = np.random.default_rng(1), {t.name: (1, *t.shape[1:]) for t in model.inputs}
    runs = [{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(2)]
    source = _served(model)
    good = model.get_weights()
    if layer != "nothing":
        spoiled = model.get_layer(layer)
        spoiled.set_weights([w * 1.1 + 0.01 for w in spoiled.get_weights()])
    files = {"tflite:float32": tflite.convert_float(source), "onnx:float32": onnx.convert(source)}
    model.set_weights(good)
    return {v: parting_worker.first_layer(source, f, v, runs, limit=_LIMIT) for v, f in files.items()}


def _served(model: keras.Model) -> SourceFunction:
    return keras3.serve(model, path=Path("model.keras"), shapes={})


def _main() -> None:
    keras.utils.set_random_seed(5)
    answers = {}
    for name, (build, spoiled) in _CASES.items():
        for layer in ("nothing", *spoiled):
            answers[f"{name}: {layer}"] = found(build(), layer)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    _main()
