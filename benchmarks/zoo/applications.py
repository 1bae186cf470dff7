"""A: `keras.applications`, untrained, at sizes that keep a run short."""

from __future__ import annotations

from pathlib import Path

import keras

from benchmarks.zoo.models import Built

_LEAST = {"InceptionV3": 96, "InceptionResNetV2": 96, "Xception": 96, "NASNetMobile": 224}


def build(name: str, folder: Path) -> Built:
    size = _LEAST.get(name, 64)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
    path = folder / f"{name}.keras"
    model.save(path)
    return Built(path, model)
