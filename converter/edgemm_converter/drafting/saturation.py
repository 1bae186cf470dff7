"""Values of inputs and outputs that a quantized variant cuts off: they lie beyond what its integers hold. Pure.

Ranges come from the calibration data. Data that are narrower than what a device sees, or of another input, leave a
variant that answers as if its inputs stopped at the ends of these ranges, or whose answers stop there.
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


_NOTHING: Mapping[str, Mapping[str, Array]] = {}


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
    outputs: Mapping[str, Mapping[str, Array]] = _NOTHING,
) -> Iterator[str]:
    """Say what is cut off, for each kind of `data`: arrays by input name, by what users call them.

    `outputs` are the source's answers to them. An input in floats of one of the `calibrated` variants holds what the
    calibration data span.
    """
    for side, of in (("input", data), ("output", outputs)):
        for called, tensors in of.items():
            for name, array in tensors.items():
                if array.dtype.kind != "f" or not array.size:
                    continue
                given = (calibration or {}).get(name) if side == "input" else None
                found = [
                    c for v in variants if (c := _cut_off(v, side, name, array, given if v.id in calibrated else None))
                ]
                if found:
                    yield _said(max(found, key=lambda c: c.count), side, name, array, called=called)


def _said(worst: _CutOff, side: str, name: str, array: Array, *, called: str) -> str:
    where = "in the source's answers to" if side == "output" else "in"
    which = "" if side == "output" else " of the same input"
    return (
        f"{worst.variant} cuts off {worst.count:,} of {array.size:,} values ({worst.count / array.size:.1%}) of {side} "
        f"{name!r} {where} the {called}: it holds {worst.low:.4g} to {worst.high:.4g}, these reach {array.min():.4g} "
        f"to {array.max():.4g}; give --calibration data{which} that span what a device sees"
    )


def _cut_off(variant: Variant, side: str, name: str, array: Array, calibration: Array | None) -> _CutOff | None:
    tensors = variant.inputs if side == "input" else variant.outputs
    tensor = next((t for t in tensors if t.name == name), None)
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
