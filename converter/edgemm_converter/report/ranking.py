"""The order in which a device should take variants, by what was measured. Pure.

First those whose metric stays within the budget; among them the fastest here, times within 5 % counting as one; then
the better metric; then the smaller file. Bundles keep their own order, which follows from precisions alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

BUDGET = 0.005
"""The drop of a metric that is taken for none, where no other was given."""

_ALIKE = math.log(1.05)
_SLACK = 1e-12


@dataclass(frozen=True)
class Candidate:
    """A variant and what was measured of it, None where it was not."""

    id: str
    size: int
    """In bytes."""

    p50_ms: float | None = None
    drop: float | None = None
    """How much worse than the source, in the metric's own unit."""


def ranked(candidates: Iterable[Candidate], *, budget: float | None = None) -> list[str]:
    """Return the ids, the one to take first in front; equal ones keep their order."""
    allowed = BUDGET if budget is None else budget

    def key(candidate: Candidate) -> tuple[bool, float, float, int]:
        drop = candidate.drop if candidate.drop is not None else 0.0
        time = math.floor(math.log(candidate.p50_ms) / _ALIKE) if candidate.p50_ms else math.inf
        return drop > allowed + _SLACK, time, max(drop, 0.0), candidate.size

    return [candidate.id for candidate in sorted(candidates, key=key)]
