"""Labels of data by the values of a model's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgemm.errors import InputError
from edgemm_converter.data import class_values


@pytest.mark.parametrize(
    ("values", "classes", "names", "expected"),
    [
        (np.array([1, 9, 2]), ("1", "2", "9", "10"), None, [0, 2, 1]),
        (np.array([-1.0, 1.0]), ("-1", "1"), None, [0, 1]),
        (np.array([-1, 1]), ("-1.0", "1.0"), ("no", "yes"), [0, 1]),
        (np.array(["yes", "no"]), ("-1", "1"), ("no", "yes"), [1, 0]),
        (np.array(["1.0", "-1"]), ("-1", "1"), ("no", "yes"), [1, 0]),
        (np.array(["low", "high"]), ("high", "low", "middle"), None, [1, 0]),
        (np.array([2, 0]), ("high", "low", "middle"), None, [2, 0]),
        (np.array([True, False]), ("False", "True"), None, [1, 0]),
        (np.array([[0, 1], [1, 0]]), ("1", "2"), None, [[0, 1], [1, 0]]),
    ],
)
def test_a_label_has_the_place_of_its_class(values: Any, classes: Any, names: Any, expected: Any) -> None:
    assert class_values.places(values, classes, names=names, path="eval.csv").tolist() == expected


@pytest.mark.parametrize("values", [np.array([1, 3]), np.array([0.5]), np.array(["a"]), np.array([np.nan])])
def test_a_label_that_is_no_class_is_refused(values: Any) -> None:
    with pytest.raises(InputError, match="eval.csv: expected labels that are classes of the model, '1', '2'; found"):
        class_values.places(values, ("1", "2"), names=None, path="eval.csv")
