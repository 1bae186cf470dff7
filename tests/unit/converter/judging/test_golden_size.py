"""Golden samples take a quarter of the smallest variant or 256 KiB, whatever a model takes and gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgemm_converter.children import samples
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import golden_size
from edgemm_runtime.engines.golden import at_places
from edgemm_runtime.tensors.npy import deflated, inflated, write_npy

LEAST = golden_size.LEAST_BUDGET_BYTES
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def noise(count: int, *shape: int) -> Array:
    """Return random inputs as a conversion makes them."""
    size = math.prod(shape)
    period = samples._PERIOD if size > samples._LARGE else size
    return samples._repeated(floats(count, period).reshape(count, period), (count, *shape))


def stored(fitted: golden_size.Fitted, inputs: dict[str, Array], outputs: dict[str, Array]) -> int:
    """Return the bytes of the blobs."""
    made = [
        deflated(write_npy(array[fitted.runs])) if name in fitted.deflated else write_npy(array[fitted.runs])
        for name, array in inputs.items()
    ]
    for name, array in outputs.items():
        made.append(write_npy(at_places(array[fitted.runs], (None, *fitted.places.get(name, ())))))
    return sum(map(len, made))


def test_the_budget() -> None:
    assert golden_size.budget([100]) == LEAST
    assert golden_size.budget([8_000_000, 4_000_000]) == 1_000_000


def test_small_samples_are_kept_whole() -> None:
    fitted = golden_size.fit({"x": floats(12, 1, 32, 32, 3)}, {"y": floats(12, 1, 10)}, budget=LEAST)
    assert fitted.fits
    assert (len(fitted.runs), fitted.places, fitted.deflated) == (12, {}, ())


def test_fewer_samples_come_first_for_every_runtime_reads_them() -> None:
    fitted = golden_size.fit({"x": floats(12, 1, 64, 64, 3)}, {"y": floats(12, 1, 10)}, budget=LEAST)
    assert 4 <= len(fitted.runs) < 12
    assert (fitted.places, fitted.deflated) == ({}, ())


@pytest.mark.parametrize(
    ("into", "out"),
    [
        ((1, 513, 513, 3), (1, 513, 513, 21)),  # a segmentation
        ((1, 640, 640, 3), (1, 84, 8400)),  # YOLO
        ((1, 640, 640, 3), (1, 25200, 85)),
        ((1, 3, 512, 512), (1, 3, 512, 512)),  # an image made of an image
        ((1, 16), (1, 1_000_000)),
        ((1, 500_000), (1, 2)),
        ((1, 16), (1, 200_000, 2)),
    ],
)
def test_dense_tensors_fit_with_all_samples(into: tuple[int, ...], out: tuple[int, ...]) -> None:
    inputs, outputs = {"x": noise(3, *into)}, {"y": floats(3, *out)}
    fitted = golden_size.fit(inputs, outputs, budget=LEAST)
    assert fitted.fits
    assert len(fitted.runs) == 3
    assert stored(fitted, inputs, outputs) <= LEAST + 1024


def test_channels_and_classes_stay_whole() -> None:
    fitted = golden_size.fit({"x": floats(3, 1, 4)}, {"y": floats(3, 1, 257, 257, 21)}, budget=LEAST)
    batch, rows, columns, classes = fitted.places["y"]
    assert batch is classes is None
    assert rows is not None
    assert columns is not None
    assert all(list(axis) == sorted(set(axis)) and axis[-1] < 257 for axis in (rows, columns))
    assert len(set(np.diff(columns))) > 1  # no steady distance, which a stride of the model might hide
    assert columns[-1] - columns[0] > 200


def test_real_images_are_deflated_and_as_few_as_fit() -> None:
    """Photos have 256 values in each channel."""
    x = np.repeat(np.repeat(RNG.integers(0, 256, (16, 1, 56, 56, 3)), 4, 2), 4, 3).astype(np.float32) / 255
    fitted = golden_size.fit({"x": x}, {"y": floats(16, 1, 1000)}, budget=LEAST)
    assert fitted.fits
    assert fitted.deflated == ("x",)
    assert 1 <= len(fitted.runs) <= 16


def test_what_does_not_fit_at_all_says_so() -> None:
    assert not golden_size.fit({"x": floats(2, 1, 300_000)}, {"y": floats(2, 1)}, budget=LEAST).fits


def test_large_random_inputs_repeat_themselves_and_small_ones_do_not() -> None:
    large = noise(2, 1, 224, 224, 3)
    assert len(deflated(write_npy(large))) < 40_000
    data = write_npy(large)
    assert inflated(deflated(data), most=len(data), name="x") == data
    assert len(np.unique(noise(2, 1, 32, 32, 3))) > 6000
