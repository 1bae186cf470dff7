"""The reference profile: histograms of the reference data over bins that are frozen with the bundle. Pure.

Because the bins are fixed, counts merge exactly in any order: on a device, over windows, and over a fleet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm_converter.data.arrays import Array

BINS = 10


@dataclass(frozen=True)
class Histogram:
    """B+1 rising edges, and counts: under, the B bins (closed on the left), at or over the last edge, NaN."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def histogram(values: Array) -> Histogram:
    """Return the histogram of all numbers in `values` over bins at their own deciles.

    Edges that fall together, as with many zeros, become one. The last edge lies just above the largest value, so that
    the reference itself has nothing outside.
    """
    flat = values.astype(np.float64).reshape(-1)
    known = flat[np.isfinite(flat)]
    edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, BINS + 1))) if known.size else np.array([0.0])
    above = np.nextafter(edges[-1], np.inf)
    edges = np.append(edges, above) if len(edges) == 1 else np.append(edges[:-1], above)
    return Histogram(edges, count(flat, edges))


def count(values: Array, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return how many of `values` are under, in each bin, at or over the last edge, and NaN."""
    flat = values.astype(np.float64).reshape(-1)
    known = flat[~np.isnan(flat)]
    places = np.searchsorted(edges, known, side="right")
    counts = np.bincount(places, minlength=len(edges) + 1)
    return np.append(counts, len(flat) - len(known)).astype(np.int64)


def confidence(distribution: Array) -> Array:
    """Return the largest probability of each row of an output [samples, …, classes]."""
    largest: Array = distribution.max(axis=-1)
    return largest
