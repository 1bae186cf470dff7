"""The sample sets of an estimator: random ones, the user's, and the edge inputs of its kind."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgemm.bundle.manifest import DType
from edgemm_converter.children import samples
from edgemm_converter.children.protocol import SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.estimators import hard_columns, hard_rows, ties
from edgemm_converter.estimators.estimator import INPUT, REFUSALS, Estimator
from edgemm_converter.estimators.hard_columns import UNSEEN
from edgemm_converter.table_columns import frames

_USUAL_ROWS, _USUAL_NUMBERS, _MOST_TIES = 256, 1_000_000, 48
Given = Mapping[str, Array] | None


def input_sets(source: Estimator, *, calibration: Given, evaluation: Given) -> tuple[InputSet, ...]:
    """Return all sets of a conversion; data are as `arrays.match` returns them."""
    if source.columns is None:
        sets = samples.input_sets(source.signature, calibration=calibration, evaluation=evaluation, by_column=True)
        usual = next((one for one in sets if one.kind is SetKind.CALIBRATION), sets[0]).arrays[INPUT]
        usual = usual.reshape(-1, usual.shape[-1]).astype(np.float32)
        bare = source.ensemble if source.is_bare else None
        tied = _tied_rows(source, usual[: min(_USUAL_ROWS, max(8, _USUAL_NUMBERS // usual.shape[1]))])
        return tuple(hard_rows.added(one, usual, bare, tied) if one.kind is SetKind.EDGE else one for one in sets)
    usual_columns = dict(calibration or frames.usual(source.columns, _USUAL_ROWS))
    sets = samples.input_sets(
        source.signature, calibration=calibration, evaluation=evaluation, by_column=True, usual=usual_columns
    )
    some = {name: array[:_USUAL_ROWS] for name, array in usual_columns.items()}
    tied_columns = _tied_columns(source, some)
    return (*sets, hard_columns.rows(source.columns, source.signature.inputs, some, ties=tied_columns))


def refused(source: Estimator, given: InputSet) -> InputSet | None:
    """Return the edge inputs of unseen values of named columns that the source refuses; None without any."""
    if source.columns is None:
        return None
    runs = [
        run
        for run in range(given.runs)
        if given.families[run] == UNSEEN and not source.takes({k: v[run, ...] for k, v in given.arrays.items()})
    ]
    return given.of(runs) if runs else None


def _tied_rows(source: Estimator, usual: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if source.ensemble is None or not source.ties_behind_steps:
        return usual[:0]

    def steps(rows: npt.NDArray[np.float32], _which: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return _numbers(source.before.transform(rows.astype(np.float64)))

    return _asked(source, steps, usual)[0]


def _tied_columns(source: Estimator, usual: Mapping[str, Array]) -> list[Mapping[str, object]]:
    names = [spec.name for spec in source.signature.inputs if spec.dtype is DType.FLOAT32]
    if source.ensemble is None or not source.ties_behind_steps or not names or not source.front:
        return []

    def steps(rows: npt.NDArray[np.float32], which: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        arrays = {name: array[which] for name, array in usual.items()}
        made = source.rows({**arrays, **{name: rows[:, i] for i, name in enumerate(names)}})
        for step in (*source.front, source.before):
            made = made if step is None or isinstance(step, str) else step.transform(made)
        return _numbers(made)

    numbers = np.stack([usual[name] for name in names], axis=1).astype(np.float32)
    rows, which = _asked(source, steps, numbers)
    return [
        {**{name: array[place] for name, array in usual.items()}, **dict(zip(names, row.tolist(), strict=True))}
        for row, place in zip(rows, which.tolist(), strict=True)
    ]


def _asked(
    source: Estimator, steps: ties.Steps, usual: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    assert source.ensemble is not None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return ties.behind(source.ensemble, steps, usual, limit=_MOST_TIES)
        except REFUSALS:
            return usual[:0], np.zeros(0, np.int64)


def _numbers(made: Array) -> npt.NDArray[np.float64]:
    found: Array = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
    return found.astype(np.float64)
