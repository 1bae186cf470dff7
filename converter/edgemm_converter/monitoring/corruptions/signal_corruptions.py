"""Corruptions of signals [samples, steps, channels], in deviations of the reference: sound, vibration, measurements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.corruptions.warping import at_times, convolved

Random = np.random.Generator


def _times(signals: Array) -> Array:
    """Return the time of each step, 0 to 1."""
    return np.linspace(0.0, 1.0, signals.shape[1])


def _phases(signals: Array, random: Random) -> Array:
    return random.uniform(0.0, 2 * np.pi, (len(signals), 1, 1))


def _segment(signals: Array, share: float, random: Random) -> Array:
    """Return which steps [samples, steps] lie in one segment of this share of the length."""
    length = signals.shape[1]
    size = min(length, round(share * length))
    start = random.integers(0, length - size + 1, len(signals))[:, None]
    step = np.arange(length)[None, :]
    return np.asarray((step >= start) & (step < start + size))


def noise(signals: Array, severity: float, random: Random) -> Array:
    """White noise."""
    return signals + random.normal(0.0, 0.22 * severity, signals.shape)


def walk(signals: Array, severity: float, random: Random) -> Array:
    """Noise that adds up: a random walk."""
    steps = random.normal(0.0, 1.0, signals.shape).cumsum(axis=1) / np.sqrt(signals.shape[1])
    return np.asarray(signals + 0.35 * severity * steps)


def speckle(signals: Array, severity: float, random: Random) -> Array:
    """Noise in proportion to the signal."""
    return signals * (1 + random.normal(0.0, 0.25 * severity, signals.shape))


def spikes(signals: Array, severity: float, random: Random) -> Array:
    """Single steps far out."""
    there = random.random(signals.shape) < 0.02 * severity
    return np.where(there, signals + random.choice(np.array([-4.0, 4.0]), signals.shape), signals)


def hum(signals: Array, severity: float, random: Random) -> Array:
    """A tone of the mains."""
    tone = np.sin(2 * np.pi * 7.0 * _times(signals)[None, :, None] + _phases(signals, random))
    return signals + 0.28 * severity * tone


def whistle(signals: Array, severity: float, random: Random) -> Array:
    """A high tone."""
    rate = max(2.0, signals.shape[1] * 0.4)
    tone = np.sin(2 * np.pi * rate * _times(signals)[None, :, None] + _phases(signals, random))
    return np.asarray(signals + 0.28 * severity * tone)


def wandering(signals: Array, severity: float, random: Random) -> Array:
    """A base line that wanders slowly."""
    slow = np.sin(2 * np.pi * _times(signals)[None, :, None] + _phases(signals, random))
    return signals + 0.35 * severity * slow


def ramp(signals: Array, severity: float, random: Random) -> Array:
    """A base line that rises or falls."""
    side = random.choice(np.array([-1.0, 1.0]), (len(signals), 1, 1))
    return signals + 0.4 * severity * side * (_times(signals)[None, :, None] - 0.5)


def offset(signals: Array, severity: float, random: Random) -> Array:
    """A base line that is moved, for all in one way."""
    return np.asarray(signals + 0.3 * severity * random.choice(np.array([-1.0, 1.0])))


def louder(signals: Array, severity: float, random: Random) -> Array:
    """A greater gain."""
    return signals * (1 + 0.3 * severity)


def quieter(signals: Array, severity: float, random: Random) -> Array:
    """A smaller gain."""
    return signals * (1 - 0.17 * severity)


def clipping(signals: Array, severity: float, random: Random) -> Array:
    """A range that is too small."""
    most = 2.2 - 0.41 * severity
    return np.clip(signals, -most, most)


def coarse(signals: Array, severity: float, random: Random) -> Array:
    """Values in steps."""
    step = 0.35 * severity + 1e-6
    return np.round(signals / step) * step


def gaps(signals: Array, severity: float, random: Random) -> Array:
    """A segment that is lost, and silent."""
    return np.where(_segment(signals, 0.1 * severity, random)[..., None], 0.0, signals)


def held(signals: Array, severity: float, random: Random) -> Array:
    """A segment in which the value before it stays."""
    lost = _segment(signals, 0.1 * severity, random)
    start = np.maximum(lost.argmax(axis=1) - 1, 0)
    before = signals[np.arange(len(signals)), start][:, None, :]
    return np.where(lost[..., None], before, signals)


def dropped_steps(signals: Array, severity: float, random: Random) -> Array:
    """Single steps that are lost: the one before stays."""
    lost = random.random(signals.shape[:2]) < 0.14 * severity
    lost[:, 0] = False
    last = np.maximum.accumulate(np.where(lost, 0, np.arange(signals.shape[1])[None, :]), axis=1)
    return signals[np.arange(len(signals))[:, None], last]


def dull(signals: Array, severity: float, random: Random) -> Array:
    """Low frequencies alone."""
    size = 1 + 0.025 * severity * signals.shape[1]
    kernel = np.ones(int(np.ceil(size)))
    kernel[-1] = max(1e-3, size - (len(kernel) - 1))
    return convolved(signals, kernel / kernel.sum(), axis=1)


def tinny(signals: Array, severity: float, random: Random) -> Array:
    """High frequencies alone."""
    size = max(3, signals.shape[1] // 8)
    slow = convolved(signals, np.full(size, 1.0 / size), axis=1)
    return signals - 0.19 * severity * slow


def delayed(signals: Array, severity: float, random: Random) -> Array:
    """A beginning that is early or late."""
    move = random.choice(np.array([-1.0, 1.0]), (len(signals), 1)) * 0.04 * severity * signals.shape[1]
    return at_times(signals, np.arange(signals.shape[1])[None, :] - move)


def slower(signals: Array, severity: float, random: Random) -> Array:
    """A rate of samples that is too high."""
    middle = (signals.shape[1] - 1) / 2
    times = (np.arange(signals.shape[1]) - middle) / (1 + 0.1 * severity) + middle
    return at_times(signals, np.broadcast_to(times, signals.shape[:2]))


def faster(signals: Array, severity: float, random: Random) -> Array:
    """A rate of samples that is too low."""
    middle = (signals.shape[1] - 1) / 2
    times = (np.arange(signals.shape[1]) - middle) * (1 + 0.1 * severity) + middle
    return at_times(signals, np.broadcast_to(times, signals.shape[:2]))


def jitter(signals: Array, severity: float, random: Random) -> Array:
    """A clock that trembles."""
    moves = random.normal(0.0, 0.012 * severity * signals.shape[1], signals.shape[:2])
    return at_times(signals, np.arange(signals.shape[1])[None, :] + moves)


def echo(signals: Array, severity: float, random: Random) -> Array:
    """The signal once more, later."""
    late = max(1, signals.shape[1] // 10)
    delayed_by = np.concatenate([np.zeros_like(signals[:, :late]), signals[:, :-late]], axis=1)
    return signals + 0.18 * severity * delayed_by


def crosstalk(signals: Array, severity: float, random: Random) -> Array:
    """A part of another signal."""
    return signals + 0.16 * severity * signals[random.permutation(len(signals))]


def fading(signals: Array, severity: float, random: Random) -> Array:
    """A gain that goes up and down."""
    slow = np.sin(4 * np.pi * _times(signals)[None, :, None] + _phases(signals, random))
    return signals * (1 - 0.09 * severity * (1 + slow))


FAMILIES: dict[str, Callable[[Array, float, Random], Array]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        noise, walk, speckle, spikes, hum, whistle, wandering, ramp, offset, louder, quieter, clipping, coarse, gaps,
        held, dropped_steps, dull, tinny, delayed, slower, faster, jitter, echo, crosstalk, fading,
    )
}  # fmt: skip
