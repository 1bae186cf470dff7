"""The comparison of two answers that other correct kernels gave: which share of them is alike. Pure.

An answer is alike value by value, or row by row where rows may change places. Each is that of one sample: an output
[1, …] of a batch, or […] without one.

* a value is alike where its error (`comparison.errors`) is within `max_abs`, one for all or one for each place along
  the last axis;
* a row is alike where all values of all outputs of its group are. Rows lie along the first axis behind a batch of 1. In
  their order, each expected row takes the first found row that is alike and that none before it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.named_arrays import Array

MOST_ROWS = 512
"""Rows that are matched: each is compared with each."""


def share_of_values(expected: Array, found: Array, max_abs: Sequence[float]) -> float:
    """Return the share of values that are alike; 1 for no values, 0 where shapes differ."""
    if expected.shape != found.shape:
        return 0.0
    alike = comparison.errors(expected, found) <= np.asarray(max_abs if len(max_abs) > 1 else max_abs[0])
    return float(alike.mean()) if alike.size else 1.0


def share_of_rows(
    expected: Mapping[str, Array], found: Mapping[str, Array], max_abs: Mapping[str, Sequence[float]]
) -> float:
    """Return the share of expected rows that find one that is alike; `max_abs` names the outputs of the group."""
    alike: npt.NDArray[np.bool_] | None = None
    for name, most in max_abs.items():
        left, right = rows_of(expected[name]), rows_of(found[name])
        if left.shape != right.shape or len(left) > MOST_ROWS:
            return 0.0
        pairs = np.broadcast_arrays(left[:, np.newaxis], right[np.newaxis])
        within: npt.NDArray[np.bool_] = np.all(comparison.errors(*pairs) <= np.asarray(most), axis=-1)
        alike = within if alike is None else alike & within
    if alike is None or not len(alike):
        return 1.0
    free = np.ones(len(alike), bool)
    for row in alike:
        candidates = np.flatnonzero(row & free)
        free[candidates[:1]] = False
    return 1 - float(free.mean())


def rows_of(array: Array) -> Array:
    """Return an output of one sample as [rows, values of each]."""
    rows = array[0] if array.ndim > 1 and array.shape[0] == 1 else array
    return rows.reshape(len(rows), -1)
