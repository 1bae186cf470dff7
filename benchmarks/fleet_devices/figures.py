"""Figures of many times, and the waiting for what is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

_TENTHS = 10
_POLL_S = 0.5
_GIVE_UP_S = 340.0
Figures = dict[str, Any]


def spread(at: Sequence[float], begun_s: float) -> Figures:
    """Return how long each tenth took, the earliest first, and whether the last took as long as the first."""
    times = sorted(one - begun_s for one in at)
    edges = [0.0, *(times[max(0, len(times) * n // _TENTHS - 1)] for n in range(1, _TENTHS + 1))]
    tenths = [round(b - a, 2) for a, b in pairwise(edges)]
    first, last = statistics.mean(tenths[1:4]), statistics.mean(tenths[-3:])
    return {"tenths_s": tenths, "last_over_first": round(last / first, 2) if first else None}


def marks(seconds: Sequence[float]) -> Figures:
    """Return milliseconds: median, 99th percentile, largest."""
    cut = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(1000 * cut[49], 1), "p99": round(1000 * cut[98], 1), "max": round(1000 * max(seconds), 1)}


def wait(ready: Callable[[], bool], what: str, *, strict: bool = True, most_s: float = _GIVE_UP_S) -> bool:
    """Ask again and again; tell whether it came true."""
    deadline_s = time.monotonic() + most_s
    while not ready():
        if time.monotonic() > deadline_s:
            if strict:
                raise TimeoutError(f"given up after {most_s:.0f} s: {what}")
            return False
        time.sleep(_POLL_S)
    return True
