import numpy as np

from edgemm_runtime.tensors import not_finite


def test_outputs_of_finite_numbers_and_integers_are_not_mentioned() -> None:
    outputs = {"y": np.ones((2, 3), np.float32), "n": np.array([2**62]), "none": np.zeros((0, 3), np.float32)}
    assert not_finite.described(outputs) == ""


def test_how_many_values_of_which_output_are_no_numbers() -> None:
    outputs = {"y": np.array([[1, np.inf], [np.nan, 2]], np.float32), "z": np.array(-np.inf, np.float32)}
    assert not_finite.described(outputs) == (
        "output 'y': 2 of 4 values are no finite number, Infinity first at [0, 1]; "
        "output 'z': 1 of 1 values is no finite number, -Infinity first"
    )


def test_they_are_spelled() -> None:
    assert not_finite.spelled([[1.0, float("nan")], [float("inf"), -float("inf")], 3]) == (
        [[1.0, "NaN"], ["Infinity", "-Infinity"], 3]
    )
