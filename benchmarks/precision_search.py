"""How few evaluations `--precision auto` takes, and how much the variants that it finds lose.

    python -m benchmarks.precision_search FOLDER [--shared DIR]

Three models: a CNN and a MobileNet (α 0.25) that are trained here on the digits of scikit-learn (1,300 to train, of
which 200 calibrate; 497 to evaluate), and MLPerf Tiny's wake word model with its 45 labelled samples: of each class, 5
calibrate and 10 evaluate, drawn by seed 0. Kept models in FOLDER are not trained again.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "converter"):
    import numpy as np

    import edgemm_converter
    from edgemm_converter import ConversionResult

CASES = ("digits-cnn", "digits-mobilenet", "wake-word")
MAX_DROP = 0.005
TRAINED, CALIBRATING = 1300, 200
_WAKE_WORD = "models/mlperf-tiny/str_ww_ref_model.h5"


@dataclass(frozen=True)
class Case:
    """A model with its data."""

    name: str
    source: Path
    calibration: Path
    evaluation: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shared", type=Path, help="the folder of published models; EDGEMM_SHARED by default")
    options = parser.parse_args()
    needs.packages("tensorflow", "sklearn", extras="converter")
    shared = options.shared or needs.shared_folder()
    needs.shared_path(_WAKE_WORD, folder=shared)
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| model | variant | bytes | float32 bytes | evaluations | metric | drop | 95 % interval | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in CASES:
        case = made(name, options.folder, shared=shared)
        start = time.perf_counter()
        found = search(case, options.folder)
        print(_row(name, found, seconds=time.perf_counter() - start), flush=True)


def made(name: str, folder: Path, *, shared: Path) -> Case:
    """Return one of `CASES`, trained and with its data in `folder`; `shared` holds the published models."""
    return _wake_word(folder, shared) if name == "wake-word" else _digits(name, folder)


def search(case: Case, folder: Path) -> ConversionResult:
    """Search for the smallest TFLite variant of a model that loses at most `MAX_DROP`; its files are in `folder`."""
    return edgemm_converter.convert(
        case.source, output=folder / f"{case.name}.edgemm", name=case.name, targets=["tflite"],
        precisions=["auto", "float32"], calibration=case.calibration, evaluation=case.evaluation, max_drop=MAX_DROP,
        report=folder / f"{case.name}.html", monitor="off", cache=False,
    )  # fmt: skip


def _row(name: str, found: ConversionResult, *, seconds: float) -> str:
    manifest = found.manifest
    assert manifest.evaluation is not None
    best, floats = manifest.variants[0], manifest.variants[-1]
    drop = manifest.evaluation.drops[best.id]
    cells = (
        name, best.id, f"{manifest.blobs[best.blob].size:,}", f"{manifest.blobs[floats.blob].size:,}",
        len(found.trials), f"{manifest.evaluation.variants[best.id]:.4f}", f"{drop.value:+.4f}",
        f"{drop.low:+.4f} to {drop.high:+.4f}", f"{seconds:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _digits(name: str, folder: Path) -> Case:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order, ..., np.newaxis] / 16).astype(np.float32)
    if name == "digits-mobilenet":
        images = images.repeat(4, 1).repeat(4, 2)
    labels = digits.target[order]
    source = folder / f"{name}.keras"
    if not source.exists():
        _train(name, images[:TRAINED], labels[:TRAINED], source)
    calibration, evaluation = folder / f"{name}-calibration.npz", folder / f"{name}-evaluation.npz"
    np.savez(calibration, image=images[:CALIBRATING])
    np.savez(evaluation, image=images[TRAINED:], labels=labels[TRAINED:])
    return Case(name, source, calibration, evaluation)


def _train(name: str, images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    if name == "digits-cnn":
        model = keras.Sequential(
            [
                keras.Input(images.shape[1:], name="image"),
                layers.Conv2D(16, 3, padding="same"),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
                layers.Flatten(),
                layers.Dense(64, activation="relu"),
                layers.Dense(10, activation="softmax", name="digit"),
            ]
        )
        epochs, rate = 12, 1e-3
    else:
        model = keras.applications.MobileNet(images.shape[1:], alpha=0.25, weights=None, classes=10, dropout=0.1)
        epochs, rate = 40, 2e-3
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=epochs, batch_size=32, verbose=0)
    model.save(path)


def _wake_word(folder: Path, shared: Path) -> Case:
    source = needs.shared_path(_WAKE_WORD, folder=shared)
    with np.load(needs.shared_path("data/mlperf-tiny/sww_labelled.npz", folder=shared)) as data:
        inputs, labels = data["specs"].astype(np.float32), data["labels"].astype(np.int64)
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(np.flatnonzero(labels == c)) for c in range(3)]
    first, rest = (np.sort(np.concatenate([d[part] for d in drawn])) for part in (slice(5), slice(5, None)))
    calibration, evaluation = folder / "wake-word-calibration.npz", folder / "wake-word-evaluation.npz"
    np.savez(calibration, x=inputs[first])
    np.savez(evaluation, x=inputs[rest], labels=labels[rest])
    return Case("wake-word", source, calibration, evaluation)


if __name__ == "__main__":
    main()
