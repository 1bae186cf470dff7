"""Class indices for an input that is declared `one_hot`, beside rows that were made already."""

from __future__ import annotations

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Preprocessing, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.preprocessing import class_indices

WORDS = Preprocessing(one_hot=4)
EYE = np.eye(4, dtype=np.float32)


def spec(*shape: int) -> TensorSpec:
    return TensorSpec(name="words", dtype=DType.FLOAT32, shape=shape)


def rows(values: object, *shape: int, steps: Preprocessing | None = WORDS) -> np.ndarray:
    return class_indices.rows(np.asarray(values, np.float32), spec(*shape), steps)


def test_indices_of_a_batch_or_of_one_sample_become_rows() -> None:
    assert (rows([[0, 3, 1], [2, 2, 0]], -1, 3, 4) == EYE[[[0, 3, 1], [2, 2, 0]]]).all()
    assert (rows([0, 3, 1], -1, 3, 4) == EYE[[0, 3, 1]]).all()
    assert (rows([3, 2], -1, 4) == EYE[[3, 2]]).all()
    assert (rows([[1, 2], [3, 0]], -1, -1, 4) == EYE[[[1, 2], [3, 0]]]).all()


def test_rows_are_taken_as_they_are() -> None:
    given = EYE[[[0, 3, 1]]]
    assert rows(given, -1, 3, 4) is not None
    assert (rows(given, -1, 3, 4) == given).all()
    assert (rows([0, 0, 1, 0], -1, 4) == [0, 0, 1, 0]).all(), "one row, and not four indices"
    assert (rows([0.2, 0.8, 0, 0], -1, 4) == np.array([0.2, 0.8, 0, 0], np.float32)).all()
    assert (rows([0, 3, 1], -1, 3, steps=None) == [0, 3, 1]).all()


@pytest.mark.parametrize("values", [[0, 4, 1], [-1, 0, 0], [0.5, 1, 2], [np.nan, 1, 2]])
def test_what_is_no_class_is_refused(values: list[float]) -> None:
    with pytest.raises(BadRequestError, match=r"'words': expected integers from 0 to 3 \(one_hot = 4\), found"):
        rows(values, -1, 3, 4)
