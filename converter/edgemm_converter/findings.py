"""What a conversion's figures mean to its user: a gate on the drop, and warnings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgemm.errors import AccuracyError
from edgemm.manifest import Evaluation
from edgemm_converter import datasets
from edgemm_converter.arrays import Array
from edgemm_converter.search import SLACK


def check_drops(evaluation: Evaluation, *, max_drop: float) -> None:
    """Check that no variant is worse than the source by more than `max_drop`.

    Raises:
        AccuracyError: one is; names the worst, and by how much.
    """
    worst, found = max(evaluation.drops.items(), key=lambda item: item[1].value)
    if found.value > max_drop + SLACK:
        raise AccuracyError(
            f"{worst}: {evaluation.metric} is {evaluation.variants[worst]:.4f}, the source's {evaluation.source:.4f}: "
            f"a drop of {found.value:.4f} (95 % interval {found.low:.4f} to {found.high:.4f}), allowed are "
            f"{max_drop:g}, so {found.value - max_drop:.4f} too much; no bundle was written: raise --max-drop, leave "
            "this variant out with --precision, or let --precision auto find one"
        )


def warnings(
    *,
    calibration: Mapping[str, Array] | None,
    evaluated: Mapping[str, Array] | None,
    evaluation: Evaluation | None,
    max_drop: float | None,
) -> tuple[str, ...]:
    """Return what a user should know before trusting the figures; inputs are [samples, …] by name."""
    return (*_shared(calibration, evaluated), *_uncertain(evaluation, max_drop))


def _shared(calibration: Mapping[str, Array] | None, evaluated: Mapping[str, Array] | None) -> Iterator[str]:
    if calibration is None or evaluated is None:
        return
    if count := datasets.shared_samples(calibration, evaluated):
        total = len(next(iter(evaluated.values())))
        yield (
            f"{count} of {total} evaluation samples are calibration samples too: quantization has seen them, and the "
            "measured drop is too good; use separate data"
        )


def _uncertain(evaluation: Evaluation | None, max_drop: float | None) -> Iterator[str]:
    if evaluation is None or max_drop is None:
        return
    worst, found = max(evaluation.drops.items(), key=lambda item: item[1].high)
    if found.high > max_drop + SLACK:
        yield (
            f"{evaluation.samples} samples cannot show that {worst} stays within a drop of {max_drop:g}: measured is "
            f"{found.value:.4f}, the 95 % interval reaches {found.high:.4f}; evaluate on more data"
        )
