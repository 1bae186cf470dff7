"""The judgement of an output's columns, each by its own deviation where the output has several units. Pure.

An error that is small beside boxes in pixels may be all that there is of the scores beside them. `column_units` says
which columns are judged as one. Limits, chosen by measurement:

* Integers: the mean error may be a quarter of the column's deviation, and the root mean square 0.7 of it, half of the
  variance. int8 of the models of `benchmarks.zoo` adds up to 0.09 and 0.11; columns of a hundredth of the whole are at
  0.5, and those that collapse at 0.8 and more. The root mean square is 1 for a constant, even one that misses only rare
  peaks.
* Floats: the largest error may be 1e-3 (half precision: 0.1) of the column's scale. Those models are at 3e-6 (1e-3);
  the room is for small columns that are the difference of large values. A wrong column is off by more.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgemm.bundle.column_figures import ColumnParity
from edgemm.bundle.manifest import Precision
from edgemm_converter.children.protocol import KnownUnits
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_units
from edgemm_converter.judging.column_units import Span
from edgemm_runtime.tensors import comparison

_MEAN_SHARE, _ROOT_SHARE = 0.25, 0.7
_FLOAT_SHARE: Mapping[Precision, float] = {Precision.FLOAT32: 1e-3, Precision.FLOAT16: 0.1}
_MAGNITUDE_SHARE, _SMALLEST_SCALE = 0.01, 1e-12
"""A float column's scale is its range, or such a share of its magnitude, which a float's own steps are relative to."""

_ROOT_SHARE_OF_INDICES = 0.9
"""The same of whole numbers, such as the indices of classes, of which near values are no near answers."""

_STEPS_ALLOWED, _STEPS = 2.0, 256
_NOISE_ALLOWED = 8.0
_FEW_VALUES, _LOST_SHARE = 8, 0.95
"""With fewer values of a column its deviation is uncertain, and only one that became about constant is told."""

_UNVARIED = 1e-6
"""Up to this share of its magnitude, some steps of a float32, a column's deviation is rounding: it is constant."""

_CLIPPED = 0.5
"""A float column that has its smallest value so often was cut off there: what it is a part of is not seen."""

_KEPT = 32
"""Columns of an output whose figures are kept, the worst."""


def figures(source: Array, found: Array, judged: tuple[Span, ...]) -> tuple[ColumnParity, ...]:
    """Return how far columns are from the source's; both arrays are [runs, batch, …] of one shape."""
    if not judged:
        return ()
    axis = judged[0].axis
    starts = np.array([span.start for span in judged])
    moments = column_units.joined(column_units.moments(source, axis), starts)
    finite = np.isfinite(source)
    errors = np.where(finite, comparison.errors(source, found), 0.0)
    others = column_units.other_axes(source, axis)
    counts = np.maximum(moments.count, 1)
    largest = np.maximum.reduceat(errors.max(axis=others), starts)
    mean = np.add.reduceat(errors.sum(axis=others), starts) / counts
    with np.errstate(over="ignore"):
        root = np.sqrt(np.add.reduceat((errors**2).sum(axis=others), starts) / counts)
    return tuple(
        ColumnParity(
            axis=axis, start=span.start, stop=span.stop, values=int(moments.count[i]), max_abs=float(largest[i]),
            mean_abs=float(mean[i]), rms=float(root[i]), deviation=float(moments.deviation[i]),
        )
        for i, span in enumerate(judged)
    )  # fmt: skip


def kept(found: tuple[ColumnParity, ...]) -> tuple[ColumnParity, ...]:
    """Return the figures that a manifest holds: those of the worst columns, in order."""
    worst = sorted(found, key=lambda c: -(c.mean_abs / c.deviation if c.deviation else 0.0))[:_KEPT]
    return tuple(sorted(worst, key=lambda c: c.start))


def off(
    precision: Precision, source: Array, found: tuple[ColumnParity, ...], *, noise: Array | None,
    known: KnownUnits | None = None,
) -> str | None:  # fmt: skip
    """Say which column of a variant is off, and by how much; None where none is.

    `noise` is how far rounding alone moves each value of a run's output, `known` what the graph tells of its units.
    """
    bounded = {span for span, of_one in zip(known.spans, known.of_one, strict=False) if of_one} if known else set()
    wrong = [
        (c, text)
        for c in found
        if (text := _fault(precision, source, c, noise=noise, of_one=(c.start, c.stop) in bounded)) is not None
    ]
    if not wrong:
        return None
    worst, text = max(wrong, key=lambda pair: pair[0].rms / max(pair[0].deviation, _SMALLEST_SCALE))
    others = len(wrong) - 1
    more = f"; so {'is' if others == 1 else 'are'} {others} more" if others else ""
    return f"{Span(worst.axis, worst.start, worst.stop).words(source.ndim - 1)}: {text}{more}"


def allowed(precision: Precision, ordinary: Array, own: Array) -> float:
    """Return the error, a float's largest or an integer's mean, that columns of one unit may have on unusual inputs.

    It is the share of `off`: a float's of what they range over on `ordinary` inputs and on these, their `own`; an
    integer's of their deviation on ordinary ones, within whose range alone it is judged. Infinite where a column does
    not vary ordinarily, was cut off, or has too few values for its range to be known.
    """
    usual = ordinary[np.isfinite(ordinary)].astype(np.float64)
    if usual.size < _FEW_VALUES or _clipped(usual):
        return np.inf
    if precision in _FLOAT_SHARE:
        return _FLOAT_SHARE[precision] * _scale(np.concatenate([usual, own[np.isfinite(own)]]))
    deviation = float(usual.std())
    return _MEAN_SHARE * deviation if deviation > _UNVARIED * _magnitude(usual) else np.inf


def off_as_one(source: Array, found: Array, *, step: float, noise: Array | None) -> str | None:
    """Say by how much an output of one unit is off in a quantized variant, None where it is not.

    A mean error says little where most values are near zero: of 1,000 classes a wrong row is off by 0.002, of a rare
    alarm that is never given by how rare it is. The root mean square is held to that of an answer that is always the
    same, or to two quantization steps: `step`, or one of 256 of the range. Both arrays are [runs, batch, …].
    """
    if source.ndim < 2 or not source.size or np.isfinite(source).sum() < _FEW_VALUES:
        return None
    finite = np.isfinite(source)
    with np.errstate(over="ignore"):
        root = float(np.sqrt((comparison.errors(source, found)[finite] ** 2).mean()))
    moved = _NOISE_ALLOWED * float(noise.max(initial=0.0)) if noise is not None else 0.0
    share = _ROOT_SHARE if source.dtype.kind == "f" else _ROOT_SHARE_OF_INDICES
    return _like_a_constant(root, source, source.ndim - 2, share=share, least=max(_STEPS_ALLOWED * step, moved))


def _like_a_constant(root: float, values: Array, axis: int, *, share: float, least: float) -> str | None:
    """Say that an error is like that of an answer with the same value in each column, of values of one unit."""
    of = column_units.moments(values, axis)
    deviation = float(np.sqrt((of.variance * of.count).sum() / max(float(of.count.sum()), 1.0)))
    least = max(least, _STEPS_ALLOWED * comparison.spread(values) / _STEPS, share * deviation)
    if root <= least or deviation <= _UNVARIED * _magnitude(values):
        return None
    return (
        f"the root mean square of the error is {root:.3g}, expected at most {least:.3g} (an answer that is always the "
        f"same is off by {deviation:.3g})"
    )


def _fault(
    precision: Precision, source: Array, column: ColumnParity, *, noise: Array | None, of_one: bool
) -> str | None:
    few = column.values < _FEW_VALUES
    mean, root = (_LOST_SHARE if few else share for share in (_MEAN_SHARE, _ROOT_SHARE))
    if precision in _FLOAT_SHARE:
        fine = column.max_abs <= _FLOAT_SHARE[precision] * column.deviation  # which is not more than its scale
    else:
        fine = column.mean_abs <= mean * column.deviation and column.rms <= root * column.deviation
    span = Span(column.axis, column.start, column.stop)
    values = span.of(source)
    if fine and (few or precision in _FLOAT_SHARE or column.stop == column.start + 1):
        return None
    moved = _NOISE_ALLOWED * float(span.of(noise[np.newaxis]).max(initial=0.0)) if noise is not None else 0.0
    if precision in _FLOAT_SHARE:
        allowed = max(_FLOAT_SHARE[precision] * _scale(values), moved)
        if column.max_abs <= allowed or _clipped(values):
            return None
        return (
            f"the max error is {column.max_abs:.3g}, expected at most {allowed:.3g} (the column's own deviation is "
            f"{column.deviation:.3g})"
        )
    if column.deviation <= max(_UNVARIED * _magnitude(values), moved):
        return None
    if fine:
        return _like_a_constant(
            column.rms, values, column.axis, share=_ROOT_SHARE, least=max(moved, of_one * _STEPS_ALLOWED / _STEPS)
        )
    return (
        f"the mean error is {column.mean_abs:.3g} and the root mean square {column.rms:.3g}, expected at most "
        f"{mean * column.deviation:.3g} and {root * column.deviation:.3g} (its own deviation is "
        f"{column.deviation:.3g})"
    )


def _magnitude(values: Array) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _scale(values: Array) -> float:
    return max(comparison.spread(values), _MAGNITUDE_SHARE * _magnitude(values), _SMALLEST_SCALE)


def _clipped(values: Array) -> bool:
    return bool((values == values.min()).mean() >= _CLIPPED)
