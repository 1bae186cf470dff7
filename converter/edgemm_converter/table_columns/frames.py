"""The tables that an estimator is given: of the arrays of named columns, as where it was trained.

A table is a pandas DataFrame where the estimator was fitted on one and pandas is there; else rows of Python objects.
A missing text is None or NaN, whichever the estimator takes; as a tensor it is `MISSING_TEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from edgemm.bundle.manifest import MISSING_TEXT, DType
from edgemm_converter.data.arrays import Array
from edgemm_converter.table_columns.named_columns import Column, Columns


def as_fitted(columns: Columns) -> bool:
    """Tell whether tables are given as the estimator was fitted: what was fitted on a DataFrame needs pandas."""
    return not columns.named or find_spec("pandas") is not None


def table(columns: Columns, inputs: Mapping[str, Array], *, missing: Mapping[str, object]) -> Any:
    """Return what an estimator is given for arrays [rows] by name; `missing` is what a missing text is in a column."""
    values = {one.name: _values(inputs[one.name], one, missing.get(one.name, np.nan)) for one in columns.columns}
    if columns.alone:
        return values[columns.columns[0].name]
    if columns.named and as_fitted(columns):
        import pandas as pd

        # Of objects pandas makes texts, in which None becomes NaN.
        return pd.DataFrame({name: pd.Series(one, dtype=one.dtype) for name, one in values.items()})
    count = len(next(iter(values.values())))
    rows = np.full((count, columns.fitted), np.nan, object)
    for one in columns.columns:
        rows[:, one.place] = values[one.name].tolist()
    return rows


def _values(array: Array, column: Column, missing: object) -> Array:
    flat = array.reshape(-1)
    if column.dtype is DType.STRING:
        return np.array([missing if one == MISSING_TEXT else str(one) for one in flat.tolist()] or [], object)
    return flat.astype(np.float64) if column.dtype is DType.FLOAT32 else flat


def usual(columns: Columns, count: int, *, seed: int = 0) -> dict[str, Array]:
    """Return arrays [count] by name of values that columns usually have."""
    return {one.name: _usual(one, count, np.random.default_rng([seed, one.place])) for one in columns.columns}


def _usual(column: Column, count: int, rng: np.random.Generator) -> Array:
    if column.dtype is DType.STRING:
        words = [str(one) for one in column.usual] or ["text"]
        each = rng.integers(0, len(words), count)
        found = np.empty(count, object)
        found[:] = [words[i] for i in each]
        return found
    dtype = np.dtype(column.dtype.value)
    if column.usual:
        return np.array([column.usual[i] for i in rng.integers(0, len(column.usual), count)]).astype(dtype)
    if dtype.kind == "f":
        return np.asarray(column.centre + column.spread * rng.standard_normal(count)).astype(dtype)
    return rng.integers(0, 2, count).astype(dtype)
