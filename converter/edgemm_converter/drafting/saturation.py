"""Values of inputs that a quantized variant cuts off, since they lie beyond what its integers hold. Pure.

Ranges come from the calibration data. Data that are narrower than what a device sees, or of another input, leave a
variant that answers as if its inputs stopped at the ends of these ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgemm.bundle.manifest import Variant, VariantTensor
from edgemm_converter.data.arrays import Array

_SMALL_SHARE = 0.01
"""Up to this share of values may be cut off without a word: as few as two of a hundred samples are extremes."""

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@dataclass(frozen=True)
class _CutOff:
    """What one variant cuts off of an input."""

    variant: str
    count: int
    low: float
    high: float


def warnings(
    variants: Sequence[Variant],
    data: Mapping[str, Mapping[str, Array]],
    *,
    calibration: Mapping[str, Array] | None,
    calibrated: Sequence[str],
) -> Iterator[str]:
    """Say which inputs are cut off, for each kind of `data`: arrays by input name, by what users call them.

    An input in floats of one of the `calibrated` variants holds what the calibration data span.
    """
    for called, inputs in data.items():
        for name, array in inputs.items():
            if array.dtype.kind != "f" or not array.size:
                continue
            given = (calibration or {}).get(name)
            found = [c for v in variants if (c := _cut_off(v, name, array, given if v.id in calibrated else None))]
            if found:
                yield _said(max(found, key=lambda c: c.count), name, array, called=called)


def _said(worst: _CutOff, name: str, array: Array, *, called: str) -> str:
    return (
        f"{worst.variant} cuts off {worst.count:,} of {array.size:,} values ({worst.count / array.size:.1%}) of input "
        f"{name!r} in the {called}: it holds {worst.low:.4g} to {worst.high:.4g}, these reach {array.min():.4g} to "
        f"{array.max():.4g}; give --calibration data of the same input that span what a device sees"
    )


def _cut_off(variant: Variant, name: str, array: Array, calibration: Array | None) -> _CutOff | None:
    tensor = next((t for t in variant.inputs if t.name == name), None)
    held = _held(tensor, calibration) if tensor is not None else None
    if held is None:
        return None
    low, high, step = held
    count = int(((array < low - step) | (array > high + step)).sum())
    return _CutOff(variant.id, count, low, high) if count > _SMALL_SHARE * array.size else None


def _held(tensor: VariantTensor, calibration: Array | None) -> tuple[float, float, float] | None:
    """Return the least and the largest number that an input holds, and its step; None is no limit."""
    limits = _LIMITS.get(str(tensor.dtype))
    if tensor.quantization is not None and limits is not None:
        scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
        low, high = ((limit - zero_point) * scale for limit in limits)
        return low, high, scale
    if calibration is None or not calibration.size:
        return None
    return min(0.0, float(np.min(calibration))), max(0.0, float(np.max(calibration))), 0.0
