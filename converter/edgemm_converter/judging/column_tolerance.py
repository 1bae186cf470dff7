"""The tolerances of columns in golden samples: of those alone that the tolerance of the whole output is too wide for.

A column's tolerance is the error that was measured plus a margin, as the output's is. Its margin is wider: a small
column may be the difference of large values, which another CPU rounds otherwise. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgemm.bundle.column_figures import ColumnTolerance
from edgemm.bundle.manifest import Precision
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging.column_units import Span
from edgemm_runtime.tensors import comparison

_FINER = 1 / 8
"""A column gets a tolerance of its own from this share of the output's tolerance on."""

_MARGIN: Mapping[Precision, float] = {Precision.FLOAT32: 1e-3}
_USUAL_MARGIN = 2e-2
"""Share of the column's scale that is added to the measured error, where a quantization step is not more."""

_MARGIN_NOISE = 8.0
_MOST = 256
"""Tolerances of one output at most: where there are more, neighbours share one."""


def of(
    precision: Precision, source: Array, found: Array, spans: Sequence[Span], *, whole: float, step: float,
    moved: Array | None,
) -> tuple[ColumnTolerance, ...]:  # fmt: skip
    """Return the tolerances of columns of an output; arrays are [samples, batch, …].

    `whole` is the output's own tolerance, `step` what two quantization steps are, and `moved` how far rounding moves
    each value of one sample.
    """
    if not spans or source.shape != found.shape:
        return ()
    errors = comparison.errors(source, found)
    limits: list[ColumnTolerance] = []
    for span in spans:
        noise = float(span.of(moved[np.newaxis]).max(initial=0.0)) if moved is not None else 0.0
        values = span.of(source)[np.isfinite(span.of(source))]
        if not values.size:
            continue
        margin = _MARGIN.get(precision, _USUAL_MARGIN) * comparison.scale(values)
        limit = float(span.of(errors).max(initial=0.0)) + max(margin, step, _MARGIN_NOISE * noise)
        if limit <= _FINER * whole:
            limits.append(ColumnTolerance(axis=span.axis, start=span.start, stop=span.stop, max_abs=limit))
    return _joined(limits) if len(limits) > _MOST else tuple(limits)


def _joined(limits: Sequence[ColumnTolerance]) -> tuple[ColumnTolerance, ...]:
    """Let neighbours share a tolerance; columns between that have none of their own part them."""
    runs: list[list[ColumnTolerance]] = []
    for limit in limits:
        if runs and runs[-1][-1].stop == limit.start:
            runs[-1].append(limit)
        else:
            runs.append([limit])
    size = -(-len(limits) // max(_MOST - len(runs), 1))
    groups = [run[i : i + size] for run in runs for i in range(0, len(run), size)]
    return tuple(
        ColumnTolerance(axis=g[0].axis, start=g[0].start, stop=g[-1].stop, max_abs=max(c.max_abs for c in g))
        for g in groups[: 4 * _MOST]
    )
