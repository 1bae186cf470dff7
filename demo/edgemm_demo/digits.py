"""The demo's models: a small CNN on scikit-learn's handwritten digits, trained in a process of its own.

1,797 images of 8×8 with values 0–16; a third is held out and never trained or calibrated on. Three models come out:
`first` saw little of the training data, `better` all of it, and `scrambled` is `better` with its weights permuted.
Run as `python -m edgemm_demo.digits FOLDER`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 7
HELD_OUT = 599
FIRST_SAW = 150


@dataclass(frozen=True)
class Digits:
    """Images [n, 8, 8, 1] in 0–1 and their labels [n], split in two."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    held_out_images: NDArray[np.float32]
    held_out_labels: NDArray[np.int64]


def load_digits() -> Digits:
    """Read the images that come with scikit-learn, in a fixed random order."""
    from sklearn import datasets

    raw = datasets.load_digits()
    order = np.random.default_rng(SEED).permutation(len(raw.target))
    images = (raw.images[order] / 16.0).astype(np.float32)[..., np.newaxis]
    labels = raw.target[order].astype(np.int64)
    return Digits(images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT])


def train(folder: Path) -> None:
    """Train and save `first.keras`, `better.keras`, `scrambled.keras`, `calibration.npz` and `labels.txt`."""
    import keras

    digits = load_digits()
    keras.utils.set_random_seed(SEED)
    first = _fit(_network(), digits.images[:FIRST_SAW], digits.labels[:FIRST_SAW], epochs=12)
    better = _fit(_network(), digits.images, digits.labels, epochs=20)
    first.save(folder / "first.keras")
    better.save(folder / "better.keras")
    _scramble(better)
    better.save(folder / "scrambled.keras")
    np.savez(folder / "calibration.npz", image=digits.images[:200])
    (folder / "labels.txt").write_text("\n".join(str(n) for n in range(10)) + "\n")


def _network() -> Any:
    import keras

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    return model


def _fit(model: Any, images: NDArray[np.float32], labels: NDArray[np.int64], *, epochs: int) -> Any:
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0)
    return model


def _scramble(model: Any) -> None:
    """Permute the weights of every layer: same size, same range, nonsense."""
    rng = np.random.default_rng(SEED)
    model.set_weights([rng.permutation(weights.ravel()).reshape(weights.shape) for weights in model.get_weights()])


if __name__ == "__main__":
    train(Path(sys.argv[1]))
