"""The fit of an estimate's interval: how far off estimates were on families that were left out. Pure."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from edgemm.monitoring.monitor_document import FEATURES
from edgemm_converter.data.arrays import Array

COVERED = 0.965
"""A little more than 0.95, since families that nobody thought of are farther off than those that were left out."""
LANDMARKS = 48


def weights_of(terms: Array, errors: Array) -> tuple[Array, float]:
    """Return weights ≥ 0 of `terms` [windows, 5] that come nearest to |error|, and a high quantile of error ÷ width.

    The least squares under weights ≥ 0 are those of the best subset of terms (Lawson and Hanson, 1974): of 5 terms
    there are 31.
    """
    best = np.zeros(terms.shape[1])
    least = np.inf
    for size in range(1, terms.shape[1] + 1):
        for chosen in combinations(range(terms.shape[1]), size):
            found = np.linalg.lstsq(terms[:, chosen], errors, rcond=None)[0]
            loss = float(((terms[:, chosen] @ found - errors) ** 2).sum())
            if (found >= 0).all() and loss < least:
                least, best = loss, np.zeros(terms.shape[1])
                best[list(chosen)] = found
    width = np.maximum(terms @ best, 1e-6)
    return best, float(np.quantile(errors / width, COVERED))


def landmarks(shares: Array) -> tuple[Array, Array]:
    """Return the scale of each share, and windows in that scale that are far from one another.

    Each next landmark is the window farthest from those before (Gonzalez, 1985).
    """
    scale = shares.std(axis=0)
    scale = np.where(scale < 1e-4, 1.0, scale)
    scaled = shares / scale
    chosen = [int(np.argmin(((scaled - scaled.mean(axis=0)) ** 2).sum(axis=1)))]
    away = ((scaled - scaled[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(LANDMARKS, len(scaled)) and away.max() > 0:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
    return scale, scaled[chosen]


def distances(shares: Array, scale: Array, marks: Array) -> Array:
    """Return the root of the mean square distance of each window to the nearest landmark."""
    scaled = shares / scale
    nearest = np.min([((scaled - mark) ** 2).sum(axis=1) for mark in marks], axis=0)
    return np.asarray(np.sqrt(nearest / FEATURES))
