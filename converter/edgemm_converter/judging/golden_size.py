"""The size of golden samples: at most a quarter of the smallest variant, or 256 KiB where that is more. Pure.

    fitted = golden_size.fit(inputs, outputs, budget=golden_size.budget(sizes))

What is given up, in this order, until they fit:

1. samples, down to four: every runtime reads that;
2. values of large outputs: a grid of places is kept, the longest axes thinned first, and inputs are deflated (random
   ones of large tensors repeat themselves, see `children.samples`); a runtime from 0.2.0 on reads that;
3. more samples, down to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgemm_converter.data.arrays import Array, spread
from edgemm_runtime.tensors.npy import deflated, write_npy

LEAST_BUDGET_BYTES = 256 * 1024
_SHARE_OF_SMALLEST = 0.25
_LEAST_WHOLE = 4
_MOST_PLACES, _LEAST_PLACES = 4096, 64
_LEAST_ON_AXIS, _FEW = 4, 128
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
Places = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Fitted:
    """Which samples are kept, and how: places of outputs by axis (None: all), and names of inputs that are deflated."""

    runs: npt.NDArray[np.int64]
    fits: bool
    """Whether that is within the budget."""

    places: Mapping[str, Places] = field(default_factory=dict)
    deflated: tuple[str, ...] = ()


def budget(sizes: Iterable[int]) -> int:
    """Return how many bytes golden samples may take beside variants of these sizes."""
    return max(int(_SHARE_OF_SMALLEST * min(sizes, default=0)), LEAST_BUDGET_BYTES)


def fit(inputs: Mapping[str, Array], outputs: Mapping[str, Array], *, budget: int, sequence: bool = False) -> Fitted:
    """Return what is kept of golden samples, arrays [samples, …] by name; of a `sequence` the beginning."""

    def some(limit: int) -> npt.NDArray[np.int64]:
        return np.arange(min(count, limit)) if sequence else spread(count, limit=limit)

    count = len(next(iter(outputs.values())))
    each = sum(array[0].nbytes for array in (*inputs.values(), *outputs.values()))
    whole = min(count, budget // max(each, 1))
    if whole >= min(count, _LEAST_WHOLE):
        return Fitted(some(whole), fits=True)
    places = _places(outputs, values=budget // 2 // count)
    kept = sum(_kept(array, places.get(name)) * array.itemsize for name, array in outputs.items())
    plain = sum(array[0].nbytes for array in inputs.values())
    if count * (kept + plain) <= budget:
        return Fitted(some(count), fits=True, places=places)
    fitted = Fitted(some(1), fits=False)
    for limit in sorted({count, 12, 8, 6, 4, 3, 2, 1} & set(range(1, count + 1)), reverse=True):
        runs = some(limit)
        size = sum(len(deflated(write_npy(array[runs]))) for array in inputs.values()) + limit * kept
        fitted = Fitted(runs, fits=size <= budget, places=places, deflated=tuple(inputs))
        if fitted.fits:
            break
    return fitted


def _places(outputs: Mapping[str, Array], *, values: int) -> dict[str, Places]:
    """Return places of the outputs that are larger than their part of so many bytes a sample."""
    found: dict[str, Places] = {}
    for name, array in outputs.items():
        most = values // len(outputs) // array.itemsize
        places = _grid(array.shape[1:], most=min(max(most, _LEAST_PLACES), _MOST_PLACES))
        if any(axis is not None for axis in places):
            found[name] = places
    return found


def _grid(shape: tuple[int, ...], *, most: int) -> Places:
    """Return indices along each axis, of which there are about `most` combinations; None for an axis that stays whole.

    The longest axis is halved until they fit: one of channels or classes, which are few, only when all others are at
    their least.
    """
    sides = list(shape)
    while math.prod(sides) > most:
        long = [i for i, side in enumerate(shape) if side > _FEW and sides[i] > _LEAST_ON_AXIS]
        longest = max(long or range(len(sides)), key=lambda i: sides[i])
        if sides[longest] <= _LEAST_ON_AXIS:
            break
        sides[longest] = max(_LEAST_ON_AXIS, math.ceil(sides[longest] / 2))
    return tuple(None if kept == side else _scattered(side, kept) for side, kept in zip(shape, sides, strict=True))


def _scattered(side: int, kept: int) -> tuple[int, ...]:
    """Return indices that lie in every part of an axis and at no steady distance, which a model's own might hide."""
    found: set[int] = set()
    step = 0
    while len(found) < kept:
        step += 1
        found.add(math.floor(side * (step * _GOLDEN_RATIO % 1)))
    return tuple(sorted(found))


def _kept(array: Array, places: Places | None) -> int:
    shape = array.shape[1:]
    if places is None:
        return math.prod(shape)
    return math.prod(side if axis is None else len(axis) for side, axis in zip(shape, places, strict=True))
