"""The search for the smallest variant whose metric stays within a budget: picks the next candidate. Pure.

1. Variants with 8-bit weights are a quarter of float32 and nearly of one size, so they are tried in the order of how
   fast they run: int8, int8-dynamic, int8-weights; then int16x8, whose kernels are slow. The first that fits is taken.
2. If none fits, mixed precision leaves the most harmful layers float. Their number doubles until a variant fits, and is
   then bisected for the fewest.
3. If none fits, or the mixed file is not smaller than half the float one, the variant is float16.

At most `MAX_EVALUATIONS` candidates are evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemm.bundle.manifest import Precision

MAX_EVALUATIONS = 12
_CALIBRATED = (Precision.INT8, Precision.INT8_DYNAMIC, Precision.INT8_WEIGHTS, Precision.INT16X8)
_UNCALIBRATED = (Precision.INT8_DYNAMIC, Precision.INT8_WEIGHTS)
_FLOAT16_SHARE = 0.5
SLACK = 1e-12
"""What rounding alone may add to a drop."""


@dataclass(frozen=True)
class PrecisionCandidate:
    """A precision and, of mixed precision, how many of the most harmful layers stay float."""

    precision: Precision
    float_layers: int = 0


@dataclass(frozen=True)
class SearchTrial:
    """A candidate that was evaluated: its file's size and drop, or why it cannot be used."""

    candidate: PrecisionCandidate
    size: int = 0
    drop: float | None = None
    refused: str = ""

    def fits(self, max_drop: float) -> bool:
        """Tell whether it can be used and stays within the budget."""
        return self.drop is not None and self.drop <= max_drop + SLACK


@dataclass(frozen=True)
class SearchSpace:
    """What is searched: the float file's size, its layers that quantization harms, and the budget."""

    float_size: int
    layers: int
    calibrated: bool
    max_drop: float


def next_candidate(trials: Sequence[SearchTrial], space: SearchSpace) -> PrecisionCandidate | None:
    """Return what to evaluate next, None when the search is over."""
    tried = {trial.candidate for trial in trials}
    if len(trials) >= MAX_EVALUATIONS:
        return None
    fixed = [PrecisionCandidate(p) for p in (_CALIBRATED if space.calibrated else _UNCALIBRATED)]
    if any(t.fits(space.max_drop) for t in trials if t.candidate in fixed):
        return None
    for candidate in fixed:
        if candidate not in tried:
            return candidate
    last = PrecisionCandidate(Precision.FLOAT16)
    if last not in tried and len(trials) == MAX_EVALUATIONS - 1 and best(trials, space) is None:
        return last
    mixed = _next_mixed(trials, space)
    if mixed is not None:
        return mixed
    return None if last in tried or best(trials, space) is not None else last


def best(trials: Sequence[SearchTrial], space: SearchSpace) -> SearchTrial | None:
    """Return the trial to use: of those with 8-bit weights the first that fits, else the smallest."""
    fitting = [t for t in trials if t.fits(space.max_drop)]
    whole = [t for t in fitting if t.candidate.precision not in (Precision.MIXED, Precision.FLOAT16)]
    return whole[0] if whole else min(fitting, key=lambda t: t.size, default=None)


def closest(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """Return the trial with the smallest drop."""
    return min((t for t in trials if t.drop is not None), key=lambda t: t.drop or 0.0, default=None)


def _next_mixed(trials: Sequence[SearchTrial], space: SearchSpace) -> PrecisionCandidate | None:
    mixed = {t.candidate.float_layers: t for t in trials if t.candidate.precision is Precision.MIXED}
    good = min((n for n, t in mixed.items() if t.fits(space.max_drop)), default=None)
    bad = max((n for n in mixed if good is None or n < good), default=0)
    if good is None:
        too_large = bad and mixed[bad].size >= _FLOAT16_SHARE * space.float_size
        count = min(2 * bad or 1, space.layers)
        return None if too_large or count <= bad else PrecisionCandidate(Precision.MIXED, count)
    middle = (good + bad) // 2
    return PrecisionCandidate(Precision.MIXED, middle) if bad < middle < good else None
