"""The read-back of a quantized file: each of its constants against the one in the float file. Pure.

A channel whose weights are almost nothing gets so small a scale that its bias, stored in steps of the input's scale ×
the weights' scale, does not fit into 32 bits. Such weights need a wider scale. The rule is that by which
TFLiteConverter adjusts weights for the scale of a bias (tensorflow/lite/tools/optimize/quantization_utils.cc): a bias
lies in the middle half of its integers, which leaves the other half to the sum of products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgemm_converter.data.arrays import Array
from edgemm_converter.formats.tflite_constants import Bias, Constant, original_name
from edgemm_converter.job import naming

_MIDDLE_HALF = 2**30
_ALMOST = 1.001
_STEPS = 1.0
"""How far a constant may be off: half a step by rounding, and half a step by that of the zero point."""

_OF_FLOAT32 = 2.0**-20
"""Rounding of what the quantizer computes in float32, relative to the value."""

_OF_HALF = 1 / 254
"""How far half precision may be off, relative to the largest value of the constant: as far as 8 bits are."""

_NOTHING = 1e-12
"""What no input makes count."""

_SATURATING = frozenset({"MAXIMUM", "MINIMUM"})
"""Operations to which a constant beyond the range is the same as the end of the range."""


@dataclass(frozen=True)
class Misfit:
    """A constant of a quantized file that is something else than in the float file."""

    constant: Constant
    channel: int | None
    expected: float
    found: float
    needed: Array | None = None
    """For a bias, the steps of the weights with which it fits."""

    def __str__(self) -> str:
        where = "" if self.channel is None else f", channel {self.channel}"
        return (
            f"constant {naming.readable(self.constant.tensor)!r} of {self.constant.operation}{where}: expected "
            f"{self.expected:.6g}, found {self.found:.6g}"
        )


def misfits(made: Iterable[Constant], floats: Iterable[Constant]) -> list[Misfit]:
    """Return the constants of a file that was made which are not those of the float file that it was made from."""
    sources: dict[str, list[Array]] = {}
    for constant in floats:
        sources.setdefault(constant.tensor, []).append(constant.values)
    return list(_misfits(made, sources))


def _misfits(made: Iterable[Constant], sources: Mapping[str, list[Array]]) -> Iterator[Misfit]:
    for constant in made:
        found = (sources.get(name) for name in (constant.tensor, original_name(constant.tensor)))
        alike = [array for array in next(filter(None, found), []) if array.shape == constant.values.shape]
        if alike:
            yield from min((_compared(constant, array) for array in alike), key=len)


def _compared(constant: Constant, source: Array) -> list[Misfit]:
    """Return the misfit of one constant, if it is one, at the value that is furthest off."""
    expected, found = source, constant.values
    with np.errstate(invalid="ignore", over="ignore"):
        excess = np.where(expected == found, 0.0, np.abs(found - expected) - _allowed(constant, expected))
    excess = np.where(np.isnan(excess), np.inf, excess)
    if constant.bias is not None:
        excess = np.where(np.abs(expected) > _ALMOST * _MIDDLE_HALF * constant.step, np.inf, excess)
    if constant.operation in _SATURATING:
        excess = np.where((expected > found.max(initial=0)) | (expected < found.min(initial=0)), 0.0, excess)
    if not excess.size or excess.max() <= 0:
        return []
    worst = np.unravel_index(int(excess.argmax()), excess.shape)
    axis = _channel_axis(constant)
    return [
        Misfit(
            constant=constant,
            channel=int(worst[axis]) if axis is not None else None,
            expected=float(expected[worst]),
            found=float(found[worst]),
            needed=_needed(constant.bias, expected) if constant.bias is not None else None,
        )
    ]


def _allowed(constant: Constant, expected: Array) -> Array:
    """Return how far each value may be off."""
    if not constant.half:
        return np.asarray(_STEPS * constant.step + _OF_FLOAT32 * np.abs(expected))
    largest = np.abs(expected).max(initial=0)
    return np.asarray(max(_NOTHING, _OF_HALF * float(largest)) if np.isfinite(largest) else 0.0)


def _channel_axis(constant: Constant) -> int | None:
    if constant.bias is not None:
        return 0
    wide = [axis for axis, size in enumerate(constant.step.shape) if size > 1]
    return wide[0] if wide else None


def _needed(bias: Bias, expected: Array) -> Array:
    """Return the steps that weights need, no smaller than they are."""
    of_channels = np.abs(expected) / (_MIDDLE_HALF * bias.input_scale)
    steps = bias.weights_step
    return np.maximum(steps, of_channels.reshape(steps.shape) if steps.size > 1 else of_channels.max())
