"""Counts of how a model's answers agree with its committee: integers that merge exactly, in any order. Pure."""

from __future__ import annotations

from typing import Annotated, Self

from msgspec import Meta, Struct

from edgemm.monitoring.monitor_document import CELLS, HEADS

Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class AgreementCounts(Struct, frozen=True, kw_only=True):
    """Of `samples` requests: how many fell into each cell, and how many agreed.

    Cell `4 × bin + k` has those of a bin of the model's confidence (`CONFIDENCE_EDGES`) in which k heads answered as
    the model did; `pairs` are the heads (0, 1), (0, 2), (1, 2) that answered alike.
    """

    samples: Natural
    cells: Annotated[tuple[Natural, ...], Meta(min_length=CELLS, max_length=CELLS)]
    committee: Natural
    heads: Annotated[tuple[Natural, ...], Meta(min_length=HEADS, max_length=HEADS)]
    pairs: Annotated[tuple[Natural, ...], Meta(min_length=HEADS, max_length=HEADS)]
    predicted: Annotated[tuple[Natural, ...], Meta(min_length=2, max_length=1024)]
    """Requests by the class that the model answered."""

    @classmethod
    def none(cls, classes: int) -> Self:
        """Return the counts of no request."""
        return cls(
            samples=0, cells=(0,) * CELLS, committee=0, heads=(0,) * HEADS, pairs=(0,) * HEADS, predicted=(0,) * classes
        )

    def __add__(self, other: AgreementCounts) -> AgreementCounts:
        """Return the counts of both.

        Raises:
            ValueError: they are of other classes.
        """
        return AgreementCounts(
            samples=self.samples + other.samples,
            cells=_sums(self.cells, other.cells),
            committee=self.committee + other.committee,
            heads=_sums(self.heads, other.heads),
            pairs=_sums(self.pairs, other.pairs),
            predicted=_sums(self.predicted, other.predicted),
        )

    def shares(self) -> tuple[float, ...]:
        """Return the `FEATURES` shares of a window: of cells, heads, the committee, pairs, all heads and none.

        Raises:
            ZeroDivisionError: there is no sample.
        """
        by_heads = [sum(self.cells[k :: HEADS + 1]) for k in range(HEADS + 1)]
        counts = (*self.cells, *self.heads, self.committee, *self.pairs, by_heads[HEADS], by_heads[0])
        return tuple(count / self.samples for count in counts)


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
