"""Figures as people read them: shares as percentages, scores with four places, and plain words where these get absurd.

A share may be anything: an error is divided by a spread that can be next to nothing.
"""

from __future__ import annotations

import math

_MOST_PERCENT = 10.0
_MOST_PLAIN = 1e6


def share(value: float, *, places: int = 1) -> str:
    """Return a share as a percentage, from 1,000 % on as so many times, and in words where it is no number."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite"
    return f"{value:.{places}%}" if abs(value) < _MOST_PERCENT else f"{value:.3g} times"


def score(value: float, *, places: int = 4, sign: str = "") -> str:
    """Return a score with so many places, or three digits and a power of ten; with `sign` "+", also above 0."""
    return f"{value:{sign}.{places}f}" if abs(value) < _MOST_PLAIN else f"{value:{sign}.3g}"


def interval(value: float, low: float, high: float) -> str:
    """Return a score with its 95 % confidence interval."""
    return f"{score(value)} (95 % interval {score(low)} to {score(high)})"


def part(count: int, total: int) -> str:
    """Return a part of some values, of which one in a million is not 0.0 %: `3 of 1,000,000 values`."""
    return f"{count:,} of {total:,} value{'s' if total != 1 else ''}"
