"""The agreement of a shadow with the active model, counted so that windows merge. Pure.

There are two kinds of output:

* classes: for each row, the place of the largest value; rows are counted by class as `agreed`, `active_only` (the
  active model said it, the shadow another) and `shadow_only`;
* values: |shadow − active| of each value, as a share of the output's range, counted by `SHADOW_ERROR_EDGES`.

All counts are integers, so merging windows in any order gives what one pass over everything gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import TypeAlias

from msgspec import Struct

SHADOW_ERROR_EDGES = tuple(float(f"{10 ** (i / 2):.3g}") for i in range(-12, 3))
"""Upper edges of the buckets of a shadow's errors as a share of the output's range: 1e-06, 3.16e-06, 1e-05 … 10."""
MAX_CLASSES = 256
"""Classes from this index on are counted together, under this index."""
_BUCKETS = len(SHADOW_ERROR_EDGES) + 1
Counts: TypeAlias = Mapping[int, int]


class ClassAgreement(Struct, frozen=True, tag="classes"):
    """Rows of a class-like output by class; a row on which the two differ is in `active_only` and `shadow_only`."""

    agreed: dict[int, int] = {}
    active_only: dict[int, int] = {}
    shadow_only: dict[int, int] = {}

    @property
    def rows(self) -> int:
        """How many rows were compared."""
        return sum(self.agreed.values()) + sum(self.active_only.values())

    @property
    def agreement(self) -> float | None:
        """The share of rows on which both named one class; None before the first row."""
        return sum(self.agreed.values()) / self.rows if self.rows else None

    @property
    def classes(self) -> list[int]:
        """The classes that either of them named, rising."""
        return sorted({*self.agreed, *self.active_only, *self.shadow_only})

    def merged(self, other: ClassAgreement) -> ClassAgreement:
        """Return the counts of both."""
        return ClassAgreement(
            added(self.agreed, other.agreed),
            added(self.active_only, other.active_only),
            added(self.shadow_only, other.shadow_only),
        )


class ErrorDistribution(Struct, frozen=True, tag="values"):
    """Values of an output by how far the two are apart, and how often the shadow's was `above` or `below`.

    `counts` has one count for each bucket of `SHADOW_ERROR_EDGES` and one for what is above the last edge. The first
    holds equal values; NaN on one side alone is in the last.
    """

    counts: tuple[int, ...] = (0,) * _BUCKETS
    above: int = 0
    below: int = 0

    @property
    def values(self) -> int:
        """How many values were compared."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return an upper bound of the error that a share `q` of the values keeps, as a share of the range.

        None before the first value; infinite where that is above the last edge.
        """
        if not self.values:
            return None
        bounds = (*SHADOW_ERROR_EDGES, float("inf"))
        return next(e for e, below in zip(bounds, accumulate(self.counts), strict=True) if below >= q * self.values)

    def merged(self, other: ErrorDistribution) -> ErrorDistribution:
        """Return the counts of both."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return ErrorDistribution(counts, self.above + other.above, self.below + other.below)


Agreement: TypeAlias = ClassAgreement | ErrorDistribution


def merge(left: Mapping[str, Agreement], right: Mapping[str, Agreement]) -> dict[str, Agreement]:
    """Return the agreement of two windows of one pair of models, by output.

    Raises:
        TypeError: an output is class-like in one of them and not in the other.
    """
    return dict(left) | {name: _merged(left.get(name), one) for name, one in right.items()}


def added(left: Counts, right: Counts) -> dict[int, int]:
    """Return the sum of two sparse counts."""
    return dict(left) | {index: left.get(index, 0) + count for index, count in right.items()}


def _merged(left: Agreement | None, right: Agreement) -> Agreement:
    if left is None:
        return right
    if isinstance(left, ClassAgreement) and isinstance(right, ClassAgreement):
        return left.merged(right)
    if isinstance(left, ErrorDistribution) and isinstance(right, ErrorDistribution):
        return left.merged(right)
    raise TypeError(f"{type(left).__name__} and {type(right).__name__} do not merge")
