"""Rows that float32 cannot hold, and whether a model minds."""

from collections.abc import Mapping

import numpy as np
import pytest

from edgemm_converter.data import rounded_rows
from edgemm_converter.data.arrays import Array

TIMES = 1_700_000_000.0 + 3 * np.arange(100.0)
ROWS = np.stack([np.linspace(0, 1, 100), TIMES], axis=1)


def label(rows: Array) -> Mapping[str, Array]:
    return {"label": (rows[:, 1].astype(np.float64) > TIMES[50]).astype(np.int64)}


def value(rows: Array) -> Mapping[str, Array]:
    return {"value": rows[:, 0].astype(np.float64)}


def test_answers_that_change_with_rounding_are_told() -> None:
    said = rounded_rows.warning(ROWS, label, path="rows.npz")
    assert said is not None
    assert said.startswith("rows.npz: devices take float32, and ")
    assert "of 100 rows have another 'label' there: column 1 has 17000" in said
    named = rounded_rows.warning(ROWS, label, path="rows.npz", names=("a", "time"))
    assert named is not None
    assert "there: column 'time' has 17000" in named


def test_a_model_that_does_not_mind_is_left_in_peace() -> None:
    assert rounded_rows.warning(ROWS, value, path="rows.npz") is None


@pytest.mark.parametrize("rows", [ROWS.astype(np.float32), ROWS.astype(np.int64), np.round(ROWS[:, :1] * 8)])
def test_rows_that_are_held_are_not_run(rows: Array) -> None:
    def never(_rows: Array) -> Mapping[str, Array]:
        raise AssertionError

    assert rounded_rows.warning(rows, never, path="rows.npz") is None


def test_missing_and_infinite_numbers_are_no_change() -> None:
    rows = ROWS.copy()
    rows[3] = np.nan
    rows[4, 0] = np.inf
    rows[:, 1] = 0.1
    assert rounded_rows.warning(rows, value, path="rows.npz") is None
