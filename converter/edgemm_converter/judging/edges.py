"""The judgement of variants on edge inputs, and the choice of those that become golden samples. Pure.

Here a source may answer what is no number; a variant then answers the same: NaN, +inf or -inf. Each value is held to
the precision's limit as a share of the scale of the family of its input (what is right for inputs of 1000 rounds more
than for inputs of 1e-6), or to 64 times as much as the source's own value moves by the last bits of its input, which is
much where a function jumps. Columns of different units (`column_units`) are held each to its own scale too, by the
shares of `columns`. Integers of integers are exact. Weights of half precision are far off where large inputs
cancel out, so that the mean of each run is judged.

Integers have a range. A variant of integers is judged by value where inputs and outputs are within the range of the
data (random, without), and elsewhere by being numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgemm.bundle.manifest import Precision, Variant
from edgemm.errors import ParityError
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import parity
from edgemm_converter.judging.edge_limits import (
    LEAST_SHARE,
    OF_INTEGERS,
    EdgeLimits,
    EdgeRuns,
    Ordinary,
    Outputs,
    Truths,
)
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.element_types import OBJECT

ON_EDGE = "on the edge input"
_NOISE_IN_GOLDEN = 8.0

_LONGEST_TEXT = 64
_FEW = 8
"""Runs within the range of the data count as so many at least."""


def judge(variant: Variant, runs: EdgeRuns, found: Outputs, *, ordinary: Ordinary) -> None:
    """Compare what a variant answers to the edge inputs with the source's answers.

    Raises:
        ParityError: an answer is another one; names the edge input.
    """
    inside = _inside(runs, ordinary)
    by_value = inside if variant.precision in OF_INTEGERS else np.ones(len(inside), bool)
    exact = not any(array.dtype.kind == "f" for array in runs.inputs.values())
    steps = {t.name: t.quantization.scale for t in variant.outputs if t.quantization is not None}
    for name, source in runs.source.items():
        parity.check_shape(variant.id, name, source=source, found=found[name])
        limits = EdgeLimits(
            variant.precision,
            name,
            runs,
            ordinary,
            step=max(steps.get(name, 0.0), ordinary.steps.get(name, 0.0)),
            exact=exact,
        )
        errors: dict[int, list[float]] = {}
        for run, case in enumerate(runs.names):
            answer = limits.judged(run, found[name][run, ...], by_value=bool(by_value[run]))
            if isinstance(answer, str):
                raise _wrong(variant, name, case, answer, real=ordinary.real)
            if answer is not None:
                errors[run] = answer
        for position, part in enumerate(limits.parts):
            shares = {run: each[position] for run, each in errors.items()}
            if shares and sum(shares.values()) > max(_FEW, len(shares)):
                worst = max(shares, key=lambda run: shares[run])
                words = (
                    f"and others within the range of the data{limits.words(part)} the mean error is {shares[worst]:.3g}"
                    " times what many may have"
                )
                raise _wrong(variant, name, runs.names[worst], words, real=ordinary.real)


def _wrong(variant: Variant, name: str, case: str, what: str, *, real: bool) -> ParityError:
    advice = "" if real else "give --calibration with real inputs, which set the scale of edge inputs, "
    return ParityError(
        f"{variant.id}, output {name!r}: {ON_EDGE} {case!r} {what}; no bundle was written: leave this variant out with "
        f"--target or --precision, {advice}or report the model"
    )


def chosen(
    runs: EdgeRuns, found: Sequence[Outputs], *, ordinary: Ordinary, answers: Sequence[Outputs], limit: int
) -> list[int]:
    """Return which edge inputs may be golden samples: they come out right on another CPU, and widen no tolerance.

    `found` is what each variant answers to them, `answers` what to the ordinary golden samples. They vary in family.
    """
    good = [run for run in range(len(runs.names)) if _is_golden(run, runs, found, ordinary, answers)]
    first = {runs.families[run]: run for run in reversed(good)}
    return sorted(sorted(good, key=lambda run: (first[runs.families[run]] != run, run))[:limit])


def _is_golden(
    run: int, runs: EdgeRuns, found: Sequence[Outputs], ordinary: Ordinary, answers: Sequence[Outputs]
) -> bool:
    if any(array.dtype is OBJECT and max(map(len, array[run].flat)) > _LONGEST_TEXT for array in runs.inputs.values()):
        return False  # the width of all texts in a bundle is that of the longest
    for name, usual in ordinary.source.items():
        source, scale = runs.source[name][run, ...], comparison.scale(usual)
        least = LEAST_SHARE * parity.LIMITS[Precision.FLOAT32].relative * scale
        if not np.isfinite(source).all() or _NOISE_IN_GOLDEN * runs.moved[name][run, ...].max(initial=0.0) > least:
            return False
        if not _within(source, usual):
            return False
        for theirs, ordinarily in zip(found, answers, strict=True):
            most = max(comparison.largest_error(usual, ordinarily[name]), least)
            if not comparison.largest_error(source, theirs[name][run, ...]) <= most:
                return False
        if comparison.is_distribution(usual) and not _is_decided(source, gap=LEAST_SHARE * scale):
            return False
    return True


def _is_decided(rows: Array, *, gap: float) -> bool:
    best = np.sort(rows.astype(np.float64), axis=-1)
    return bool((best[..., -1] - best[..., -2] > gap).all())


def _inside(runs: EdgeRuns, ordinary: Ordinary) -> Truths:
    """Tell for each run whether its inputs and the source's outputs are within the range of ordinary ones."""
    return np.array(
        [
            all(_within(of[name][run, ...], usual[name]) for of, usual in _pairs(runs, ordinary) for name in of)
            for run in range(len(runs.names))
        ],
        bool,
    )


def _pairs(runs: EdgeRuns, ordinary: Ordinary) -> Iterator[tuple[Outputs, Outputs]]:
    yield runs.inputs, ordinary.inputs
    yield runs.source, ordinary.source


def _within(values: Array, usual: Array) -> bool:
    if not values.size or not usual.size:
        return True
    if OBJECT in (values.dtype, usual.dtype):
        return set(values.ravel().tolist()) <= set(usual.ravel().tolist())
    return bool(np.isfinite(values).all() and usual.min() <= values.min() and values.max() <= usual.max())
