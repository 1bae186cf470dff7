"""Which ranges of calibration integers can stand for, and what becomes of an input that was one number."""

from __future__ import annotations

import numpy as np
import pytest

from edgemm.errors import ConversionError
from edgemm_converter.export import activation_ranges
from simulators import tflite

FILE = tflite.conv_float32(np.ones((3, 3, 1, 2), np.float32), np.zeros(2, np.float32))


def ranges(low: float, high: float, name: str = tflite.INPUT) -> dict[str, dict[str, np.ndarray]]:
    return {name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}}


@pytest.mark.parametrize(("low", "high"), [(-np.inf, 0), (0, np.inf), (np.nan, np.nan), (-3e38, 3e38)])
def test_what_is_infinite_or_too_wide_for_a_scale_is_named(low: float, high: float) -> None:
    with pytest.raises(ConversionError, match=r"TFLite: first becomes infinite or NaN on the calibration data"):
        activation_ranges.usable(ranges(low, high, "first"), FILE)


@pytest.mark.parametrize(("value", "reach"), [(0.0, 1.0), (0.5, 1.0), (-7.0, 7.0)])
def test_an_input_that_was_one_number_reaches_to_both_sides(value: float, reach: float) -> None:
    found = activation_ranges.usable(ranges(value, value), FILE)[tflite.INPUT]
    assert (found["min"].tolist(), found["max"].tolist()) == ([-reach], [reach])


def test_other_ranges_stay() -> None:
    assert activation_ranges.usable(ranges(-1, 2), FILE)[tflite.INPUT]["max"].tolist() == [2.0]
    assert activation_ranges.usable(ranges(0, 0, "inner"), FILE)["inner"]["max"].tolist() == [0.0]
