"""Runs of a source model on its edge inputs: those that it refuses are none, and how far rounding moves its answers.

Whether an input is one that a model takes, as an index of its table, is found out by asking the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.edge_values import EXTREMES, LARGEST
from edgemm_runtime.tensors import comparison

Run = Callable[[dict[str, Array]], Mapping[str, Array]]
Refusals = tuple[type[Exception], ...]
_ROUNDING = 1e-7
"""By how much rounding moves numbers around 1."""

_TIE_RUNS = 6
_NO_SHAPES: Mapping[str, tuple[int, ...]] = {}


def answered(
    run: Run, given: InputSet, refusals: Refusals, *, shapes: Mapping[str, tuple[int, ...]] = _NO_SHAPES
) -> tuple[InputSet, dict[str, Array]] | None:
    """Run a source on its edge inputs; return those that it takes, with its outputs [runs, …], None without any.

    Runs whose outputs have other `shapes`, by default those of the first, are left out. The extremes of integers are
    tried only where the source took large ones: an index that is none, or a length, must not become 2³¹.
    """
    found: dict[int, Mapping[str, Array]] = {}
    order = sorted(range(given.runs), key=lambda i: given.families[i] == EXTREMES)
    for i in order:
        if given.families[i] == EXTREMES and not any(_is_large(given, k) for k in found):
            continue
        try:
            outputs = run({name: array[i, ...] for name, array in given.arrays.items()})
        except refusals:
            continue
        shapes = shapes or {name: array.shape for name, array in outputs.items()}
        if shapes == {name: array.shape for name, array in outputs.items()}:
            found[i] = outputs
    kept = sorted(found)
    if not kept:
        return None
    return given.of(kept), {name: np.stack([found[i][name] for i in kept]) for name in shapes}


def _is_large(given: InputSet, run: int) -> bool:
    positive = any(array.dtype.kind in "iu" and (array[run, ...] > 0).any() for array in given.arrays.values())
    return positive and given.families[run] == LARGEST


def moved(
    run: Run, given: InputSet, outputs: Mapping[str, Array], refusals: Refusals, *, orders: bool
) -> dict[str, Array]:
    """Return how far each value of the outputs moves where the inputs do by their last bits, up and down.

    It is infinite where a number becomes none or the reverse, and where the source refuses the moved input. A denormal
    moves to 0 and to the least normal number. A 0 stays, since masks and padding are told by it; but where a source
    `orders` values, equal inputs give it ties, which any rounding decides: there what is next to 0 moves by a rounding
    error of ordinary values, and more often.
    """
    result = {name: np.zeros(array.shape, np.float64) for name, array in outputs.items()}
    if all(array.dtype.kind != "f" for array in given.arrays.values()):
        return result
    for i in range(given.runs):
        inputs = {name: array[i, ...] for name, array in given.arrays.items()}
        for other in _ties(inputs) if orders else _moved_inputs(inputs):
            try:
                found = run(other)
            except refusals:
                found = {}
            for name, array in outputs.items():
                expected, theirs = array[i, ...], found.get(name)
                if theirs is None or theirs.shape != expected.shape:
                    result[name][i, ...] = np.inf
                else:
                    result[name][i, ...] = np.maximum(result[name][i, ...], comparison.errors(expected, theirs))
    return result


def _moved_inputs(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    signs = _signs(inputs, np.random.default_rng(0))
    for turn in (1, -1):
        yield {name: _moved(array, turn * signs[name]) for name, array in inputs.items()}


def _ties(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    rng = np.random.default_rng(0)
    for _ in range(_TIE_RUNS):
        signs = _signs(inputs, rng)
        yield {
            name: np.where(_is_tiny(array), signs[name] * _ROUNDING, _moved(array, signs[name])).astype(array.dtype)
            for name, array in inputs.items()
        }


def _signs(inputs: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    return {name: np.where(rng.random(array.shape) < 0.5, -1.0, 1.0) for name, array in inputs.items()}


def _is_tiny(array: Array) -> npt.NDArray[np.bool_]:
    if array.dtype.kind != "f":
        return np.zeros(array.shape, bool)
    tiny: npt.NDArray[np.bool_] = np.abs(array) < np.finfo(array.dtype).tiny
    return tiny


def _moved(array: Array, signs: Array) -> Array:
    if array.dtype.kind != "f":
        return array
    moved = np.nextafter(array, (signs * np.inf).astype(array.dtype))
    denormal = np.where(signs > 0, np.copysign(np.finfo(array.dtype).tiny, array), 0)
    moved = np.where(_is_tiny(array), denormal, moved)
    return np.where(array == 0, 0, moved).astype(array.dtype)
