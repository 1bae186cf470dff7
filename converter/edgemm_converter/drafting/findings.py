"""The findings of a conversion: a limit on the drop of a metric, and warnings about the figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgemm import figures
from edgemm.bundle.manifest import Evaluation
from edgemm.errors import AccuracyError
from edgemm_converter.data import datasets
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.datasets import widened
from edgemm_converter.judging.search import SLACK
from edgemm_runtime.tensors import comparison

_FEW_SAMPLES = 100
_NAMED = 3
_NONE: Mapping[str, Sequence[str]] = {}
_UNVARIED = 1e-3
"""Up to this share of its scale an output is said not to vary: a float32 variant may be off by a tenth of that."""


def check_drops(evaluation: Evaluation, *, max_drop: float) -> None:
    """Check that no variant is worse than the source by more than `max_drop`.

    Raises:
        AccuracyError: one is; names the worst, and by how much.
    """
    worst, found = max(evaluation.drops.items(), key=lambda item: item[1].value)
    if found.value > max_drop + SLACK:
        variant, source = figures.score(evaluation.variants[worst]), figures.score(evaluation.source)
        drop, over = figures.interval(found.value, found.low, found.high), figures.score(found.value - max_drop)
        raise AccuracyError(
            f"{worst}: {evaluation.metric} is {variant}, the source's {source}: a drop of {drop}, allowed are "
            f"{max_drop:g}, so {over} too much; no bundle was written: raise --max-drop, leave this variant out with "
            "--precision, or let --precision auto find one"
        )


def warnings(
    *,
    calibration: Mapping[str, Array] | None,
    evaluated: Mapping[str, Array] | None,
    evaluation: Evaluation | None,
    max_drop: float | None,
    calibrated: Sequence[str] = (),
    floats: Mapping[str, Sequence[str]] = _NONE,
    compared: Sequence[Mapping[str, Array]] = (),
) -> tuple[str, ...]:
    """Return what a user should know before trusting the figures.

    Inputs are [samples, …] by name, `calibrated` the variants whose ranges come from the calibration data, `floats`
    the operations of integer variants that stay float, and `compared` the source's outputs [runs, …] by name, one map
    for each sample set that variants were judged on.
    """
    return (
        *_unvaried(compared, real=calibration is not None),
        *_few(calibration, calibrated),
        *_swapped(calibration, evaluated),
        *_constant(calibration or {}, calibrated),
        *_shared(calibration, evaluated),
        *_uncertain(evaluation, max_drop),
        *_in_floats(floats),
    )


def _unvaried(compared: Sequence[Mapping[str, Array]], *, real: bool) -> Iterator[str]:
    """Say which outputs are the same on whatever they were compared: that comparison shows nothing."""
    for name in compared[0] if compared else ():
        if all(_spread(outputs[name]) <= _UNVARIED * comparison.scale(outputs[name]) for outputs in compared):
            more = "more varied ones" if real else "real ones"
            yield (
                f"output {name!r} of the source hardly varies over the inputs on which the variants were compared, so "
                f"that a wrong variant could answer the same: give {more} with --calibration"
            )


def _spread(output: Array) -> float:
    values = output.astype(np.float64)
    return float((values.max(axis=0) - values.min(axis=0)).max(initial=0.0))


def _few(calibration: Mapping[str, Array] | None, calibrated: Sequence[str]) -> Iterator[str]:
    count = len(next(iter(calibration.values()))) if calibration else _FEW_SAMPLES
    if calibrated and count < _FEW_SAMPLES:
        yield (
            f"{count} calibration sample{'s' if count > 1 else ''} set the ranges of {', '.join(calibrated)}: what a "
            f"device sees beyond them is cut off; give {_FEW_SAMPLES} or more"
        )


def _constant(calibration: Mapping[str, Array], calibrated: Sequence[str]) -> Iterator[str]:
    for name, array in calibration.items():
        if calibrated and datasets.is_constant(array):
            value = float(array.flat[0])
            reach = widened(value)
            yield (
                f"input {name!r} is {value:g} in every calibration sample: {', '.join(calibrated)} takes {-reach:g} to "
                f"{reach:g} there and cuts off what is beyond; give values that it will have"
            )


def _shared(calibration: Mapping[str, Array] | None, evaluated: Mapping[str, Array] | None) -> Iterator[str]:
    if calibration is None or evaluated is None:
        return
    if count := datasets.shared_samples(calibration, evaluated):
        total = len(next(iter(evaluated.values())))
        yield (
            f"{count} of {total} evaluation samples are calibration samples too: quantization has seen them, and the "
            "measured drop is too good; use separate data"
        )


def _swapped(calibration: Mapping[str, Array] | None, evaluated: Mapping[str, Array] | None) -> Iterator[str]:
    if calibration is None or evaluated is None:
        return
    for one, other in datasets.swapped(calibration, evaluated):
        yield (
            f"the calibration data of inputs {one!r} and {other!r} look swapped: each ranges over what the other does "
            "in the evaluation data; check the names of the arrays"
        )


def _in_floats(floats: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for variant, names in floats.items():
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield (
                f"{variant} computes {', '.join(names[:_NAMED])}{more} in float between its integers: an accelerator "
                "for integers alone does not run it"
            )


def _uncertain(evaluation: Evaluation | None, max_drop: float | None) -> Iterator[str]:
    if evaluation is None or max_drop is None:
        return
    worst, found = max(evaluation.drops.items(), key=lambda item: item[1].high)
    if found.high > max_drop + SLACK:
        value, high = figures.score(found.value), figures.score(found.high)
        yield (
            f"{evaluation.samples} samples cannot show that {worst} stays within a drop of {max_drop:g}: measured is "
            f"{value}, the 95 % interval reaches {high}; evaluate on more data"
        )
