"""The columns of an output that have one unit, and those that have each its own. Pure.

An output may hold values of different units, such as boxes in pixels beside scores. A column is a slice of one axis:
the last one or, of an output [batch, channels, …], the channels or another axis before the last, where the deviations
of their slices differ more than those of the last axis do. Columns have one unit where one of these holds:

* one activation with bounds is over all of them, or one constant range, as the source's graph tells (`KnownUnits`);
* rows sum to one;
* there are many, and their deviations run on without a gap, as those of features and of bins of a spectrum do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm_converter.children.protocol import KnownUnits
from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors import comparison

Floats = npt.NDArray[np.float64]

_MANY, _GAP, _STEPS = 16, 4.0, 256
"""So many columns are one unit if none's deviation is so many times the next one's, and none is below one of so many
steps of the largest: that one would be lost in 8 bits."""

_RARE = 0.9
"""Among so many, a column that has its smallest value so often is one that a ReLU hardly ever lets through."""

_OF_ONE = 2.0**-24
"""Half a step of a float32 at 1."""

_AXIS_MARGIN = 1.0
"""By how much more the logarithms of the deviations along another axis must differ than those of the last."""


@dataclass(frozen=True)
class Span:
    """Columns `start` to `stop` − 1 of one axis of an output [batch, …], which have one unit."""

    axis: int
    start: int
    stop: int

    def of(self, array: Array) -> Array:
        """Return their values in an array [runs, batch, …]."""
        return array[(slice(None),) * (self.axis + 1) + (slice(self.start, self.stop),)]

    def words(self, rank: int) -> str:
        """Say which columns they are, of an output of this rank."""
        what = "column" if self.axis == rank - 1 else "channel"
        return f"{what} {self.start}" if self.stop == self.start + 1 else f"{what}s {self.start} to {self.stop - 1}"


@dataclass(frozen=True)
class Moments:
    """Of each column: how many values are finite, their mean and their variance."""

    count: Floats
    mean: Floats
    variance: Floats

    @property
    def deviation(self) -> Floats:
        """Standard deviations."""
        return np.sqrt(self.variance)


def spans(source: Array, known: KnownUnits | None = None) -> tuple[Span, ...]:
    """Return the columns of a source's output [runs, batch, …] that are judged each by its own range.

    None where the whole output has one unit. A single column is one of its own.
    """
    if source.dtype.kind != "f" or source.ndim < 2 or not source.size:
        return ()
    if (known is not None and known.axis is None) or _sums_to_one(source):
        return ()
    spans_known = known.spans if known is not None and _fits(known, source) else ()
    axis = known.axis if spans_known and known is not None and known.axis is not None else _axis(source)
    count = source.shape[axis + 1]
    deviations = moments(source, axis).deviation
    if count >= _MANY:
        smallest = np.expand_dims(source.min(axis=other_axes(source, axis)), other_axes(source, axis))
        rare = (source == smallest).mean(axis=other_axes(source, axis)) >= _RARE
        deviations = np.where(rare, 0.0, deviations)
    found: list[Span] = []
    at = 0
    for start, stop in (*spans_known, (count, count)):
        if at < start:
            one = _one_unit(deviations[at:start])
            found.extend([Span(axis, at, start)] if one else [Span(axis, i, i + 1) for i in range(at, start)])
        if start < stop:
            found.append(Span(axis, start, stop))
        at = stop
    return () if len(found) == 1 and count > 1 else tuple(found)


def _axis(source: Array) -> int:
    """Return the axis of [batch, …] whose slices differ most: the last, or one before it, as that of channels first."""
    last = source.ndim - 2
    unlike = {axis: _unlike(moments(source, axis).deviation) for axis in range(1, last) if source.shape[axis + 1] > 1}
    before = max(unlike, key=lambda axis: unlike[axis], default=last)
    if before == last:
        return last
    return before if unlike[before] > _unlike(moments(source, last).deviation) + _AXIS_MARGIN else last


def _fits(known: KnownUnits, source: Array) -> bool:
    """Tell whether an output has the columns that its graph speaks of."""
    axis = known.axis or 0
    return axis + 1 < source.ndim and all(stop <= source.shape[axis + 1] for _, stop in known.spans)


def _unlike(deviations: Floats) -> float:
    """Return the deviation of the logarithms of what varies."""
    varied = deviations[deviations > 0]
    return float(np.log(varied).std()) if varied.size else 0.0


def _one_unit(deviations: Floats) -> bool:
    """Tell whether columns are so many, and their deviations so continuous, that they are one kind of quantity."""
    varied = np.sort(deviations[deviations > 0])
    if len(varied) < _MANY:
        return False
    return bool((varied[1:] <= _GAP * varied[:-1]).all() and varied[0] >= varied[-1] / _STEPS)


def _sums_to_one(source: Array) -> bool:
    """Tell whether the rows of an output are distributions, along its last axis or its channels."""
    if comparison.is_distribution(source):
        return True
    return source.ndim > 3 and comparison.is_distribution(np.moveaxis(source, 2, -1))


def rounding(known: KnownUnits | None, shape: tuple[int, ...]) -> Array:
    """Return how far rounding moves each value of an output [batch, …] at least, however small it is.

    A sigmoid of a large negative number is computed from numbers around 1, by each engine in its own way.
    """
    least = np.zeros(shape)
    if known is None:
        return least
    if known.axis is None:
        return least + _OF_ONE * any(known.of_one)
    for (start, stop), of_one in zip(known.spans, known.of_one, strict=False):
        if of_one and known.axis < len(shape):
            least[(slice(None),) * known.axis + (slice(start, stop),)] = _OF_ONE
    return least


def other_axes(source: Array, axis: int) -> tuple[int, ...]:
    """Return the axes of an array [runs, batch, …] that are not that of the columns."""
    return tuple(i for i in range(source.ndim) if i != axis + 1)


def moments(source: Array, axis: int) -> Moments:
    """Return the moments of each column of an array [runs, batch, …], of its finite values."""
    others, finite = other_axes(source, axis), np.isfinite(source)
    values = np.where(finite, source, 0).astype(np.float64)
    count = finite.sum(axis=others).astype(np.float64)
    mean = values.sum(axis=others) / np.maximum(count, 1)
    shape = [-1 if i == axis + 1 else 1 for i in range(source.ndim)]
    apart = np.where(finite, values - mean.reshape(shape), 0.0)
    with np.errstate(over="ignore"):
        variance = (apart**2).sum(axis=others) / np.maximum(count, 1)
    return Moments(count, mean, variance)


def joined(of: Moments, starts: npt.NDArray[np.int64]) -> Moments:
    """Return the moments of spans of columns, which begin at `starts` and leave none out."""
    count = np.add.reduceat(of.count, starts)
    mean = np.add.reduceat(of.count * of.mean, starts) / np.maximum(count, 1)
    width = np.diff(np.append(starts, len(of.count)))
    between = (of.mean - np.repeat(mean, width)) ** 2
    variance = np.add.reduceat(of.count * (of.variance + between), starts) / np.maximum(count, 1)
    return Moments(count, mean, variance)
