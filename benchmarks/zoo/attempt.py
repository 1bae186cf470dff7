"""The child that takes one route of today: `python -m benchmarks.zoo.attempt ROUTE FOLDER`.

It writes `converted.tflite` or `converted.onnx`, or ends with a traceback. The source is loaded as Keras 3 loads it:
whoever takes these routes has no other way.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

from simulators import needs


def main(route: str, folder: Path) -> None:
    needs.packages("keras", "tensorflow", extras="converter")
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")
    built = json.loads((folder / "built.json").read_text())
    path = Path(built["path"])
    if route == "tflite" and path.is_dir():
        import tensorflow as tf

        _write(folder / "converted.tflite", tf.lite.TFLiteConverter.from_saved_model(str(path)).convert())
        return
    model = _load(path, built["options"])
    {"tflite": _tflite, "litert": _litert, "tf2onnx": _tf2onnx, "keras-onnx": _keras_onnx}[route](model, folder)


def _load(path: Path, options: list[str]) -> Any:
    import keras

    objects: dict[str, Any] = {}
    for option, value in itertools.pairwise(options):
        if option == "--custom-objects":
            module, _, name = value.partition(":")
            imported = importlib.import_module(module)
            objects |= {name: getattr(imported, name)} if name else {}
    safe = "--allow-lambda" not in options
    return keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=safe)


def _tflite(model: Any, folder: Path) -> None:
    import tensorflow as tf

    _write(folder / "converted.tflite", tf.lite.TFLiteConverter.from_keras_model(model).convert())


def _litert(model: Any, folder: Path) -> None:
    model.export(folder / "converted.tflite", format="litert", verbose=False)


def _tf2onnx(model: Any, folder: Path) -> None:
    import tf2onnx

    tf2onnx.convert.from_keras(model, output_path=str(folder / "converted.onnx"))


def _keras_onnx(model: Any, folder: Path) -> None:
    import numpy as np

    shapes = [[1, *(16 if d is None else d for d in t.shape[1:])] for t in model.inputs]
    model([np.zeros(s, t.dtype) for s, t in zip(shapes, model.inputs, strict=True)])  # refused before a first call
    model.export(folder / "converted.onnx", format="onnx", verbose=False)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
