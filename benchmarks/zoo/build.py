"""The child that builds one model: `python -m benchmarks.zoo.build KEY FOLDER`.

It leaves the artifact, `reference.npz` (inputs and the source's outputs by name, 3 seeds at batch 1 and 4) and
`built.json` in the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "converter"):
    from benchmarks.zoo.compare import NOISE
    from benchmarks.zoo.models import FAMILIES, KERAS_2, Built

SEEDS, BATCHES = (11, 12, 13), (1, 4)
_FREE_SIZE = {4: 24, 2: 9}


def main(key: str, folder: Path) -> None:
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")
    if key in KERAS_2:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import keras

    keras.utils.set_random_seed(7)
    family, _, name = key.partition("/")
    module = importlib.import_module(f"benchmarks.zoo.{FAMILIES[family]}")
    _trouble_batch_norm(keras)
    built = module.build(name, folder)
    (folder / "built.json").write_text(json.dumps({"path": str(built.path), "options": built.options}))
    if built.model is not None:
        _write_reference(built, folder)


def _trouble_batch_norm(keras: Any) -> None:
    """Have every BatchNormalization built with statistics that are not trivial: mean 0 and variance 1 hide mistakes."""
    import numpy as np

    build = keras.layers.BatchNormalization.build
    rng = np.random.default_rng(5)

    def troubled(layer: Any, shape: Any) -> None:
        build(layer, shape)
        count = shape[-1]
        layer.moving_mean.assign(rng.normal(0, 0.2, count))
        layer.moving_variance.assign(rng.uniform(0.6, 1.6, count))
        if layer.gamma is not None:
            layer.gamma.assign(rng.uniform(0.7, 1.3, count))
        if layer.beta is not None:
            layer.beta.assign(rng.normal(0, 0.2, count))

    keras.layers.BatchNormalization.build = troubled


def _write_reference(built: Built, folder: Path) -> None:
    import numpy as np

    inputs = _inputs(built)
    saved: dict[str, Any] = {}
    if any(dtype == "string" for _, dtype in inputs.values()):
        return
    for seed in SEEDS:
        for batch in BATCHES if all(shape[:1] == (None,) for shape, _ in inputs.values()) else (1,):
            rng = np.random.default_rng([seed, batch])
            given = {n: _draw(rng, shape, dtype, batch, built.high) for n, (shape, dtype) in inputs.items()}
            found = _answers(built, given)
            saved |= {f"{seed}-{batch}/in/{n}": a for n, a in given.items()}
            saved |= {f"{seed}-{batch}/out/{n}": a for n, a in found.items()}
    saved |= {f"{NOISE}/out/{name}": value for name, value in _noise(built, given, found).items()}
    np.savez(folder / "reference.npz", **saved)


def _noise(built: Built, given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far each output moves where each number of the inputs is the next one up that the model can tell."""
    import numpy as np

    def moved(array: Any) -> Any:
        if array.dtype.kind != "f":
            return array
        precise = array.astype("float16") if half else array
        return np.nextafter(precise, precise.dtype.type(np.inf)).astype(array.dtype)

    half = any(getattr(layer, "compute_dtype", "") == "float16" for layer in getattr(built.model, "layers", ()))
    other = _answers(built, {name: moved(array) for name, array in given.items()})
    return {n: np.abs(np.asarray(a, np.float64) - np.asarray(other[n], np.float64)).max() for n, a in found.items()}


def _inputs(built: Built) -> Mapping[str, tuple[tuple[int | None, ...], str]]:
    if built.inputs:
        return built.inputs
    names = getattr(built.model, "input_names", None) or [t.name for t in built.model.inputs]
    return {
        str(n): (tuple(t.shape), str(getattr(t.dtype, "name", t.dtype)))
        for n, t in zip(names, built.model.inputs, strict=True)
    }


def _draw(rng: Any, shape: tuple[int | None, ...], dtype: str, batch: int, high: int) -> Any:

    first = [batch] if shape[:1] == (None,) else list(shape[:1])
    concrete = first + [_FREE_SIZE.get(len(shape), 16) if d is None else d for d in shape[1:]]
    if dtype.startswith("float"):
        return rng.normal(size=concrete).astype("float32" if dtype == "float16" else dtype)
    return rng.integers(0, high, concrete).astype(dtype)


def _answers(built: Built, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the source's outputs by name, in graph mode."""
    import numpy as np
    import tensorflow as tf

    if built.reference is not None:
        return {name: np.asarray(value) for name, value in built.reference(given).items()}
    model = built.model
    for layer in getattr(model, "layers", ()):
        if getattr(layer, "stateful", False) and hasattr(
            layer, "reset_states" if "tf_keras" in str(type(layer)) else "reset_state"
        ):
            (layer.reset_states if "tf_keras" in str(type(layer)) else layer.reset_state)()
    nested = isinstance(getattr(model, "_inputs_struct", getattr(model, "_nested_inputs", None)), Mapping)
    arguments: Any = dict(given) if nested else list(given.values())
    if not nested and len(arguments) == 1:
        arguments = arguments[0]
    found = tf.function(lambda *_: model(arguments, training=False))()
    if isinstance(found, Mapping):
        return {str(name): np.asarray(value) for name, value in found.items()}
    values = found if isinstance(found, (list, tuple)) else [found]
    names = list(getattr(model, "output_names", ()) or ())
    return {names[i] if len(names) == len(values) else f"output_{i}": np.asarray(v) for i, v in enumerate(values)}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
