"""The tolerances of golden samples for devices with other kernels than those that were verified. Pure.

They are measured: a variant answers its golden samples with other correct kernels of its engine too.

* Twice the largest error is allowed, beside what is allowed anyway; four times, where only some samples were measured.
  Columns of another unit, which have a tolerance of their own, are measured by themselves.
* Where that would be more than half of the output's scale, it could not tell a wrong model any more: an answer
  that is a choice (a class, a box) is another one altogether where two are nearly equal. There most of the values have
  to agree within a twentieth of the scale, class indices exactly; of outputs that list things, as detectors do, most of
  the rows, whose places may change.
* How many is measured as well, as the least of any sample, less some slack. Where fewer than half would have to agree,
  or no more than do in the answers to two different samples, nothing is said, and the ordinary tolerance stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET

from edgemm.bundle.manifest import Tolerance
from edgemm.bundle.other_kernels import KernelTolerance
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import parity
from edgemm_runtime.tensors import comparison, kernel_comparison

Outputs: TypeAlias = Mapping[str, Array]
Allowed: TypeAlias = Mapping[str, tuple[float, ...]]
Alike: TypeAlias = Callable[[Outputs, Outputs, Allowed], float]
_TIMES, _TIMES_OF_SOME = 2.0, 4.0
_TELLING_SHARE, _CHOICE_SHARE, _LEAST_SHARE = 0.5, 0.05, 0.5
_EXACT = 0.5
_MOST_COLUMNS, _LIST_AXES = 64, 4


@dataclass(frozen=True)
class KernelTolerances:
    """Tolerances of a variant's outputs by name, and the groups of outputs whose rows are matched."""

    outputs: Mapping[str, KernelTolerance] = field(default_factory=dict)
    rows: tuple[tuple[str, ...], ...] = ()


def of(
    expected: Outputs, answers: Sequence[Outputs], tolerances: Mapping[str, Tolerance], *, samples: int
) -> KernelTolerances:
    """Return the tolerances of one variant.

    `expected` are the golden outputs [samples, …] by name; `answers` those of each kernel, of the first samples alone
    where they have fewer than `samples`.
    """
    found: dict[str, KernelTolerance] = {}
    choices: list[str] = []
    whole = all(len(array) == samples for one in answers for array in one.values())
    for name, tolerance in tolerances.items():
        most = _allowed(
            expected[name], [one[name] for one in answers], tolerance, times=_TIMES if whole else _TIMES_OF_SOME
        )
        if most is None:
            choices.append(name)
        else:
            agreement = _agreement(expected[name], answers, name, tolerance)
            found[name] = msgspec.structs.replace(most, min_argmax_agreement=agreement)
    matched: list[tuple[str, ...]] = []
    for group in _groups(expected, choices):
        allowed = {name: _of_choice(_all_rows(expected[name]), by_column=True) for name in group}
        slack = (1 if whole else 2) / len(kernel_comparison.rows_of(expected[group[0]][0]))
        share = _least(expected, answers, allowed, _rows_alike, slack=slack)
        if share is not None:
            matched.append(group)
            found |= {name: KernelTolerance(max_abs=most, min_share=share) for name, most in allowed.items()}
    for name in set(choices) - {name for group in matched for name in group}:
        allowed = {name: _of_choice(expected[name], by_column=_has_columns(tolerances[name], expected[name]))}
        share = _least(expected, answers, allowed, _values_alike, slack=None)
        if share is not None:
            found[name] = KernelTolerance(max_abs=allowed[name], min_share=share)
    return KernelTolerances(found, tuple(matched))


def _allowed(
    expected: Array, answers: Sequence[Array], tolerance: Tolerance, *, times: float
) -> KernelTolerance | None:
    """Return the error that is allowed, of all values and of columns; None where it would tell nothing."""
    if any(found.shape[1:] != expected.shape[1:] for found in answers):
        return None
    errors = [comparison.errors(expected[: len(found)], found) for found in answers]

    def worst(of: Callable[[Array], Array]) -> float:
        return max(float(of(error).max(initial=0.0)) for error in errors)

    added = times * worst(lambda error: error)
    if not math.isfinite(added) or added > _TELLING_SHARE * _scale(expected):
        return None
    columns = []
    for column in tolerance.columns or ():
        there = (slice(None),) * (column.axis + 1) + (slice(column.start, column.stop),)
        beside = times * worst(lambda error, there=there: error[there])  # type: ignore[misc]
        columns.append(msgspec.structs.replace(column, max_abs=column.max_abs + beside))
    return KernelTolerance(max_abs=(tolerance.max_abs + added,), min_share=1.0, columns=tuple(columns) or UNSET)


def _scale(values: Array) -> float:
    return comparison.scale(np.where(np.isfinite(values), values, 0))


def _of_choice(values: Array, *, by_column: bool) -> tuple[float, ...]:
    """Return how far a value [..., columns] may be off that is part of a choice: class indices not at all."""
    finite = np.where(np.isfinite(values), values, 0)
    count = values.shape[-1] if by_column and values.shape[-1] <= _MOST_COLUMNS else 1
    columns = [finite[..., i] for i in range(count)] if count > 1 else [finite]
    return tuple(
        _EXACT if (column == np.round(column)).all() else _CHOICE_SHARE * comparison.scale(column) for column in columns
    )


def _has_columns(tolerance: Tolerance, values: Array) -> bool:
    """Tell whether columns of the last axis have units of their own; values are [samples, …]."""
    return any(column.axis == values.ndim - 2 for column in tolerance.columns or ())


def _all_rows(values: Array) -> Array:
    return np.concatenate([kernel_comparison.rows_of(one) for one in values])


def _groups(expected: Outputs, choices: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the outputs that list things together, a row each, where one of them is a choice."""
    rows: dict[int, list[str]] = {}
    for name, array in expected.items():
        one = array[0]
        if one.ndim > 1 or one.size > 1:
            rows.setdefault(len(kernel_comparison.rows_of(one)), []).append(name)
    return [
        tuple(names)
        for count, names in rows.items()
        if 1 < count <= kernel_comparison.MOST_ROWS
        and set(names) & set(choices)
        and (len(names) > 1 or _lists_things(expected[names[0]]))
    ]


def _lists_things(values: Array) -> bool:
    """Tell whether an output [samples, batch, rows, columns] alone lists things, and is no map of classes."""
    return values.ndim == _LIST_AXES and values.shape[-1] <= _MOST_COLUMNS and not (values == np.round(values)).all()


def _rows_alike(expected: Outputs, found: Outputs, allowed: Allowed) -> float:
    return kernel_comparison.share_of_rows(expected, found, allowed)


def _values_alike(expected: Outputs, found: Outputs, allowed: Allowed) -> float:
    return min(kernel_comparison.share_of_values(expected[n], found[n], most) for n, most in allowed.items())


def _least(
    expected: Outputs, answers: Sequence[Outputs], allowed: Allowed, alike: Alike, *, slack: float | None
) -> float | None:
    """Return the share that has to be alike in each sample; None where that would tell nothing.

    It is the least that was measured less `slack`, or less as much again as was missing where that is None.
    """

    def sample(of: Outputs, index: int) -> Outputs:
        return {name: of[name][index] for name in allowed}

    shares = [
        alike(sample(expected, i), sample(one, i), allowed)
        for one in answers
        for i in range(len(one[next(iter(allowed))]))
    ]
    least = min(shares, default=0.0)
    share = max(0.0, round(least - (1 - least if slack is None else slack), 6))
    count = len(expected[next(iter(allowed))])
    # A wrong model answers one sample as this one answers another, at best.
    others = [alike(sample(expected, i), sample(expected, (i + 1) % count), allowed) for i in range(count)]
    told = count > 1 and sum(others) / count >= share
    return None if share < _LEAST_SHARE or told else share


def _agreement(expected: Array, answers: Sequence[Outputs], name: str, tolerance: Tolerance) -> float | None:
    """Return the share of samples whose largest class is the source's: as is asked anyway, or as was measured."""
    if tolerance.min_argmax_agreement is None:
        return None
    found = [parity.argmax_agreement(expected[: len(one[name])], one[name]) for one in answers]
    slack = 1 / len(expected)
    return max(0.0, min(tolerance.min_argmax_agreement, *(round(share - slack, 6) for share in found)))
