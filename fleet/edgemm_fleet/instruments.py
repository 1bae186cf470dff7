"""Instruments that a worker owns: a distribution in buckets of fixed bounds, and the last minute of it apart.

    commits = Distribution(SECONDS)
    commits.note(0.004, now_s=time.monotonic())
    commits.recent(now_s=time.monotonic()).mean

One thread notes, others read: a reader may miss the value that is being noted, and never sees one that was not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets for durations."""
COUNTS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Upper bounds of buckets for sizes of batches."""
_SPAN_S = 30.0


@dataclass(frozen=True)
class Lately:
    """What was noted within the last half minute, or minute; `span_s` is for how long."""

    number: int = 0
    total: float = 0.0
    largest: float = 0.0
    span_s: float = 0.0

    @property
    def mean(self) -> float:
        """The mean, 0 where nothing was noted."""
        return self.total / self.number if self.number else 0.0

    @property
    def rate(self) -> float:
        """The sum of the values a second."""
        return self.total / max(self.span_s, 1.0)

    def joined(self, other: Lately) -> Lately:
        """Return both as one."""
        largest, span_s = max(self.largest, other.largest), self.span_s + other.span_s
        return Lately(self.number + other.number, self.total + other.total, largest, span_s)


NOTHING = Lately()


class Distribution:
    """How often which values were noted, since the start of the process and lately."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._begun_s, self._now, self._before = float("-inf"), Lately(), Lately()

    def note(self, value: float, *, now_s: float) -> None:
        """Count a value; `now_s` is a steady clock's time."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value
        self._turn(now_s)
        found = self._now
        self._now = Lately(found.number + 1, found.total + value, max(found.largest, value))

    def recent(self, *, now_s: float) -> Lately:
        """Return what was noted within the last half minute to minute."""
        age_s = now_s - self._begun_s
        if age_s >= 2 * _SPAN_S:
            return Lately()
        found = replace(self._now, span_s=age_s)
        return found if age_s >= _SPAN_S else found.joined(self._before)

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return (upper bound, values up to it) for each bucket, as Prometheus has histograms, and the sum of all."""
        found, so_far = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found, self._total

    def _turn(self, now_s: float) -> None:
        if (age_s := now_s - self._begun_s) >= _SPAN_S:
            self._before = replace(self._now, span_s=age_s) if age_s < 2 * _SPAN_S else Lately()
            self._now, self._begun_s = Lately(), now_s
