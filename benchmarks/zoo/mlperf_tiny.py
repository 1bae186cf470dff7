"""B: MLPerf Tiny: four trained reference models as they were published, and visual wake words rebuilt."""

from __future__ import annotations

from pathlib import Path

import keras

from benchmarks.zoo.models import Built
from simulators import needs

_FILES = {"ad": "ad01.h5", "ic": "pretrainedResnet.h5", "kws": "kws_ref_model", "sww": "str_ww_ref_model.h5"}


def build(name: str, folder: Path) -> Built:
    if name == "vww":
        model = keras.applications.MobileNet(weights=None, input_shape=(96, 96, 3), alpha=0.25, classes=2)
        model.save(folder / "vww.keras")
        return Built(folder / "vww.keras", model)
    import tf_keras

    path = needs.shared_path(f"models/mlperf-tiny/{_FILES[name]}")
    return Built(path, tf_keras.models.load_model(path, compile=False))
