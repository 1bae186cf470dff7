"""Rows on which a converted estimator may go wrong: at thresholds of trees, missing and infinite values. Pure.

They join the edge inputs of every model. What the source refuses is left out, as of any edge input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgemm_converter.children.samples import InputSet
from edgemm_converter.estimators import tree_tables
from edgemm_converter.estimators.tree_tables import Ensemble

TIES, MISSING, INFINITE = "ties at thresholds", "missing values", "infinite values"
_MOST_TIES, _COLUMNS = 48, 6
Rows = npt.NDArray[np.float32]


def added(given: InputSet, usual: Rows, trees: Ensemble | None, tied: Rows | None = None) -> InputSet:
    """Return edge inputs with the hard rows behind them; `usual` are rows [rows, columns] of values as they come.

    `trees` are those that the columns are fed to as they are, if any; `tied` rows at thresholds of others.
    """
    (name,) = given.arrays
    found = [*_others(usual)]
    ties = tree_tables.tie_rows(trees, usual, limit=_MOST_TIES) if trees is not None else tied
    if ties is not None:
        found += [(f"a threshold of a tree, {place}", TIES, row) for place, row in enumerate(ties, start=1)]
    rows = np.stack([row for _, _, row in found])[:, np.newaxis]
    return replace(
        given,
        arrays={name: np.concatenate([given.arrays[name], rows])},
        runs=given.runs + len(found),
        samples=given.samples + len(found),
        names=(*given.names, *(words for words, _, _ in found)),
        families=(*given.families, *(family for _, family, _ in found)),
    )


def _others(usual: Rows) -> Iterator[tuple[str, str, Rows]]:
    columns = usual.shape[1]
    yield "all missing", MISSING, np.full(columns, np.nan, np.float32)
    for column in _some(columns):
        yield f"column {column} missing", MISSING, _with(usual[0], column, np.nan)
    for column in _some(columns)[:2]:
        yield f"column {column} at infinity", INFINITE, _with(usual[0], column, np.inf)
        yield f"column {column} at -infinity", INFINITE, _with(usual[0], column, -np.inf)


def _some(columns: int) -> Sequence[int]:
    return sorted({round(i) for i in np.linspace(0, columns - 1, min(_COLUMNS, columns))})


def _with(row: Rows, column: int, value: float) -> Rows:
    changed = row.copy()
    changed[column] = value
    return changed
