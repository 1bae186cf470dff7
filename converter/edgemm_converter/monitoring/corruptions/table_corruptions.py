"""Corruptions of rows of features [samples, features], in deviations of the reference.

They are what happens to columns in the field: noise, wrong units, swapped and stuck columns, stale rows, values that
are missing and filled in, and common offsets and gains, which no row alone gives away. After Schelter's Jenga.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgemm_converter.data.arrays import Array

Random = np.random.Generator
_LOW = -2.5
"""Where 0 often lies, as what a missing value is filled with."""


def _some(features: Array, share: float, random: Random) -> Array:
    """Return some columns, at least one."""
    count = max(1, round(share * features.shape[1]))
    return random.permutation(features.shape[1])[:count]


def noise(features: Array, severity: float, random: Random) -> Array:
    """Noise on everything."""
    return features + random.normal(0.0, 0.3 * severity, features.shape)


def common_noise(features: Array, severity: float, random: Random) -> Array:
    """Noise that all features of a row share."""
    return features + random.normal(0.0, 0.3 * severity, (len(features), 1))


def offset(features: Array, severity: float, random: Random) -> Array:
    """Some columns moved."""
    found, columns = features.copy(), _some(features, 0.12 * severity, random)
    found[:, columns] += random.choice(np.array([-1.0, 1.0]), len(columns)) * 0.5 * severity
    return found


def common_offset(features: Array, severity: float, random: Random) -> Array:
    """All columns moved by as much."""
    return np.asarray(features + 0.25 * severity * random.choice(np.array([-1.0, 1.0])))


def gain(features: Array, severity: float, random: Random) -> Array:
    """Some columns scaled."""
    found, columns = features.copy(), _some(features, 0.2 * severity, random)
    found[:, columns] *= 1 + 0.5 * severity * random.choice(np.array([1.0, -0.4]), len(columns))
    return found


def common_gain(features: Array, severity: float, random: Random) -> Array:
    """All columns farther from the mean."""
    return features * (1 + 0.25 * severity)


def shrinking(features: Array, severity: float, random: Random) -> Array:
    """All columns nearer to the mean."""
    return features * (1 - 0.16 * severity)


def wrong_unit(features: Array, severity: float, random: Random) -> Array:
    """Some columns in another unit, as inches for centimetres or degrees of Fahrenheit: moved and scaled at once."""
    found, columns = features.copy(), _some(features, 0.06 * severity, random)
    found[:, columns] = found[:, columns] * 1.8 + 0.6 * severity
    return found


def missing_as_mean(features: Array, severity: float, random: Random) -> Array:
    """Single values missing, filled with the mean."""
    return np.where(random.random(features.shape) < 0.15 * severity, 0.0, features)


def missing_as_zero(features: Array, severity: float, random: Random) -> Array:
    """Single values missing, filled with what lies far below."""
    return np.where(random.random(features.shape) < 0.06 * severity, _LOW, features)


def missing_columns(features: Array, severity: float, random: Random) -> Array:
    """Whole columns missing, filled with the mean."""
    found = features.copy()
    found[:, _some(features, 0.1 * severity, random)] = 0.0
    return found


def swapped(features: Array, severity: float, random: Random) -> Array:
    """Columns in each other's place."""
    found, columns = features.copy(), _some(features, 0.15 * severity, random)
    if len(columns) < 2:
        columns = random.permutation(features.shape[1])[:2]
    found[:, columns] = found[:, np.roll(columns, 1)]
    return found


def stuck(features: Array, severity: float, random: Random) -> Array:
    """Columns of one value."""
    found, columns = features.copy(), _some(features, 0.13 * severity, random)
    found[:, columns] = random.normal(0.0, 1.0, len(columns))
    return found


def outliers(features: Array, severity: float, random: Random) -> Array:
    """Single values far out."""
    far = features + random.standard_t(2, features.shape) * 3
    return np.where(random.random(features.shape) < 0.03 * severity, np.clip(far, -50.0, 50.0), features)


def clipping(features: Array, severity: float, random: Random) -> Array:
    """A range that is too small."""
    most = 2.4 - 0.45 * severity
    return np.clip(features, -most, most)


def one_sided(features: Array, severity: float, random: Random) -> Array:
    """A sensor that saturates above."""
    return np.minimum(features, 2.2 - 0.5 * severity)


def coarse(features: Array, severity: float, random: Random) -> Array:
    """Values in steps."""
    step = 0.4 * severity + 1e-6
    return np.round(features / step) * step


def flipped(features: Array, severity: float, random: Random) -> Array:
    """Columns of the wrong sign."""
    found = features.copy()
    found[:, _some(features, 0.07 * severity, random)] *= -1
    return found


def mixed(features: Array, severity: float, random: Random) -> Array:
    """Each row with a part of another, as of a buffer that is late."""
    share = 0.12 * severity
    return (1 - share) * features + share * features[random.permutation(len(features))]


def stale(features: Array, severity: float, random: Random) -> Array:
    """Columns of some rows from another row."""
    other, found = features[random.permutation(len(features))], features.copy()
    rows = random.random(len(features)) < 0.15 * severity
    columns = _some(features, 0.5, random)
    found[np.ix_(rows, columns)] = other[np.ix_(rows, columns)]
    return found


def heavy_tails(features: Array, severity: float, random: Random) -> Array:
    """What is far out is farther out."""
    return np.sign(features) * np.abs(features) ** (1 + 0.25 * severity)


def drift(features: Array, severity: float, random: Random) -> Array:
    """Some columns that move in the course of time."""
    found, columns = features.copy(), _some(features, 0.25, random)
    found[:, columns] += np.linspace(0.0, 0.6 * severity, len(features))[:, None]
    return found


FAMILIES: dict[str, Callable[[Array, float, Random], Array]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        noise, common_noise, offset, common_offset, gain, common_gain, shrinking, wrong_unit, missing_as_mean,
        missing_as_zero, missing_columns, swapped, stuck, outliers, clipping, one_sided, coarse, flipped, mixed, stale,
        heavy_tails, drift,
    )
}  # fmt: skip
