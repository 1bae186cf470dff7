"""The kernels of resampling, against their formulas computed pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edgemm.bundle.manifest import ResizeKernel
from edgemm_runtime.preprocessing.resampling import resampled
from edgemm_runtime.tensors.named_arrays import Array

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
SIZES = [(4, 3), (9, 7), (5, 7), (20, 15), (1, 1), (2, 13)]


def at(values: Array, place: float) -> Array:
    """Return what lies between the two values around a place, which is clipped to the edge."""
    place = min(max(place, 0.0), len(values) - 1.0)
    first = math.floor(place)
    made: Array = values[first] + (values[min(first + 1, len(values) - 1)] - values[first]) * (place - first)
    return made


def covered(values: Array, low: float, high: float) -> Array:
    shares = [max(0.0, min(high, i + 1) - max(low, i)) for i in range(len(values))]
    made: Array = np.tensordot(np.array(shares), values, axes=1) / (high - low)
    return made


def along(values: Array, count: int, kernel: ResizeKernel) -> Array:
    """Return `count` values made of the first axis, one after the other."""
    step = len(values) / count
    made: dict[ResizeKernel, Callable[[int], Array]] = {
        ResizeKernel.BILINEAR: lambda i: at(values, (i + 0.5) * step - 0.5),
        ResizeKernel.AREA: lambda i: covered(values, i * step, (i + 1) * step),
        ResizeKernel.NEAREST: lambda i: values[math.floor((i + 0.5) * step)],
    }
    return np.stack([made[kernel](i) for i in range(count)])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [ResizeKernel.BILINEAR, ResizeKernel.AREA, ResizeKernel.NEAREST])
def test_it_is_what_the_formula_says(kernel: ResizeKernel, size: tuple[int, int]) -> None:
    found = resampled(PIXELS, size=size, kernel=kernel)
    rows = along(PIXELS.astype(float), size[1], kernel)
    exact = np.swapaxes(along(np.swapaxes(rows, 0, 1), size[0], kernel), 0, 1)
    assert found.dtype == np.uint8
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found - exact).max() <= 0.5001  # rounded to whole steps


@pytest.mark.parametrize("kernel", [ResizeKernel.BILINEAR, ResizeKernel.AREA, ResizeKernel.NEAREST])
def test_a_box_is_a_part_of_the_image(kernel: ResizeKernel) -> None:
    kept = PIXELS[1:5, 2:8]
    found = resampled(PIXELS, size=(6, 4), kernel=kernel, box=(2, 1, 8, 5))
    assert np.array_equal(found, kept)


def test_bilinear_is_not_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (8, 8))[..., np.newaxis]  # 8 × 16, a pixel wide
    assert set(resampled(stripes, size=(4, 8), kernel=ResizeKernel.AREA).ravel()) == {128}
    thirds = resampled(np.tile(stripes, (1, 3, 1)), size=(16, 8), kernel=ResizeKernel.BILINEAR)
    assert set(thirds.ravel()) == {0, 255}


def test_grey_images_have_one_channel() -> None:
    for kernel in (ResizeKernel.BILINEAR, ResizeKernel.AREA, ResizeKernel.NEAREST):
        assert resampled(PIXELS[..., :1], size=(3, 2), kernel=kernel).shape == (2, 3, 1)
