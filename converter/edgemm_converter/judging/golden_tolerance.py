"""The tolerances of golden samples, by which every device checks a variant before it serves it. Pure.

Tolerances hold on other CPU architectures. There, int8 outputs differ by one quantization step and float outputs by
3e-5, so each tolerance is the error measured here plus a margin. It stays far below the error of scrambled weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from edgemm.bundle.manifest import Precision, Tolerance, Variant
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_tolerance, parity
from edgemm_converter.judging.column_units import Span
from edgemm_runtime.tensors import comparison

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_MARGIN: Mapping[Precision, float] = {
    Precision.FLOAT32: 1e-4,
    Precision.FLOAT16: 1e-3,
    Precision.INT8: 1e-3,
    Precision.INT8_DYNAMIC: 1e-2,
    Precision.INT16X8: 1e-3,
    Precision.MIXED: 1e-2,
    Precision.INT8_WEIGHTS: 1e-3,
    Precision.INT4_WEIGHTS: 1e-3,
}
"""Share of the output's scale that is added to the measured error."""

_MARGIN_STEPS = 2
"""Quantization steps that are added where the output is quantized and that is more."""

_MARGIN_NOISE = 2
"""Times the source's own noise that are added where that is more."""

_SLACK_SAMPLES: Mapping[Precision, int] = {Precision.FLOAT32: 0, Precision.FLOAT16: 1}
_QUANTIZED_SLACK_SAMPLES = 2
"""Samples whose largest class may be another one, beyond those measured here."""


def tolerances(
    variant: Variant,
    source: Mapping[str, Array],
    found: Mapping[str, Array],
    *,
    noise: Mapping[str, float],
    moved: Mapping[str, Array] = _NOTHING,
    spans: Mapping[str, Sequence[Span]] = _NOTHING,
) -> dict[str, Tolerance]:
    """Return the tolerance of each output; arrays are [samples, …] of the golden samples, by output name.

    `noise` is how far rounding moves the source, which another CPU's rounding does too, and `moved` the same for each
    value of one sample. `spans` are the columns that are judged by their own range.
    """
    steps = {t.name: t.quantization.scale for t in variant.outputs if t.quantization is not None}
    whole = {
        name: _tolerance(
            variant.precision,
            source[name],
            found[name],
            # Noise is infinite where a last bit makes the difference between a number and none.
            floor=max(
                _MARGIN_STEPS * steps.get(name, 0.0),
                _MARGIN_NOISE * min(noise.get(name, 0.0), comparison.scale(source[name])),
            ),
        )
        for name in source
    }
    return {
        name: msgspec.structs.replace(
            tolerance,
            columns=column_tolerance.of(
                variant.precision, source[name], found[name], spans.get(name, ()), whole=tolerance.max_abs,
                step=_MARGIN_STEPS * steps.get(name, 0.0), moved=moved.get(name),
            )
            or msgspec.UNSET,
        )
        for name, tolerance in whole.items()
    }  # fmt: skip


def _tolerance(precision: Precision, source: Array, found: Array, *, floor: float) -> Tolerance:
    measured = parity.compare("", source, found)
    margin = max(_MARGIN[precision] * comparison.scale(source), floor)
    agreement = None
    if measured.argmax_agreement is not None:
        slack = _SLACK_SAMPLES.get(precision, _QUANTIZED_SLACK_SAMPLES)
        agreement = max(0.0, round(measured.argmax_agreement - slack / len(source), 6))
    return Tolerance(max_abs=measured.max_abs + margin, min_argmax_agreement=agreement)
