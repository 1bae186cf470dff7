"""Scales and layers whose numbers are infinite or NaN: refused, or an error that is infinite and no NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgemm_converter.formats import layers, tflite_file


@pytest.mark.parametrize("scale", [np.inf, np.nan, -0.5])
def test_a_scale_that_is_no_number_is_refused(scale: float) -> None:
    detail = {"name": "y", "dtype": np.int8, "quantization": (scale, 0), "shape_signature": np.array([1])}
    with pytest.raises(ValueError, match=r"the scale of 'y' is"):
        tflite_file.tensor("y", detail)


@pytest.mark.parametrize(
    ("expected", "found", "error"),
    [
        ([np.inf, 1], [np.inf, 1], 0.0),
        ([np.inf, 1], [2, 1], math.inf),
        ([3, 1], [np.nan, 1], math.inf),
        ([3, 1], [3, 1], 0.0),
    ],
)
def test_the_error_of_a_layer_is_a_number_or_infinite(expected: list[float], found: list[float], error: float) -> None:
    assert layers._relative(np.array(expected), np.array(found)) == error
