"""The limits of a variant's answers on edge inputs, value by value and column by column. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgemm.bundle.manifest import Precision
from edgemm_converter.children.protocol import KnownUnits
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_units, columns, parity
from edgemm_converter.judging.column_units import Span
from edgemm_runtime.tensors import comparison

Outputs = Mapping[str, Array]
Truths = npt.NDArray[np.bool_]

OF_INTEGERS = (
    Precision.INT8, Precision.INT16X8, Precision.INT8_DYNAMIC, Precision.MIXED, Precision.INT8_WEIGHTS,
    Precision.INT4_WEIGHTS,
)  # fmt: skip
_NOISE_ALLOWED = 64.0
"""Times what the source moves by the last bits of its input. Sums round more often than inputs do; of equal numbers,
which normalization takes from one another, that is all that is left."""
_TYPICAL = 0.75
"""Up to this quantile of a run's values, what moves them is rounding rather than a jump."""

_MEAN_OF_ONE = 4.0
"""Times its limit that the mean error of a single run may be, which is a limit for many."""

MEAN_OF_MANY = 2.0
"""The same for the mean of all runs that are within the range of the data."""

LEAST_SHARE = 0.1
"""Of the error that is allowed on ordinary inputs, what is allowed in any case."""

_EXACT = 1e-6
_TINY, _OVERFLOW = 1e-30, 1e30
"""What stands for no error at all; and where a weight of fewer bits may rightly overflow."""


@dataclass(frozen=True)
class EdgeRuns:
    """Edge inputs with the source's answers, as `protocol.SampleSet` describes them; arrays are [runs, …] by name."""

    names: Sequence[str]
    families: Sequence[str]
    inputs: Outputs
    source: Outputs
    moved: Outputs


@dataclass(frozen=True)
class Ordinary:
    """One set of ordinary inputs, by which the scale and the range of a model are known, and its rounding."""

    inputs: Outputs
    source: Outputs
    noise: Mapping[str, float]
    steps: Mapping[str, float] = field(default_factory=dict)
    """To what any engine may round an output, by name."""

    units: Mapping[str, KnownUnits] = field(default_factory=dict)
    """What is known of the units of outputs, by name."""

    real: bool = False
    """Whether they are the user's data, and not random."""


@dataclass(frozen=True)
class EdgeLimits:
    """What one output of a variant is held to."""

    precision: Precision
    name: str
    runs: EdgeRuns
    ordinary: Ordinary
    step: float
    exact: bool

    @cached_property
    def parts(self) -> tuple[Span | None, ...]:
        """The columns that have each a unit of their own; None is the whole output."""
        spans = column_units.spans(self.ordinary.source[self.name], self.ordinary.units.get(self.name))
        return (None, *spans)

    def words(self, part: Span | None) -> str:
        """Name the columns of a part, for the middle of a sentence."""
        return f", {part.words(self.ordinary.source[self.name].ndim - 1)}:" if part is not None else ","

    def judged(self, run: int, found: Array, *, by_value: bool) -> str | list[float] | None:
        """Say what is wrong with one answer; None where nothing is.

        Of a variant of integers the mean error of each part is returned as a share of what many may have: which inner
        activations are beyond their range cannot be seen, so that one run may be far off.
        """
        expected = self.runs.source[self.name][run, ...]
        moved = self.runs.moved[self.name][run, ...].astype(np.float64)
        if (where := self._other_kind(expected, found, moved)).any():
            return _words(expected, found, where) + "; expected the same kind of number"
        numbers = np.isfinite(expected) & np.isfinite(found) & np.isfinite(moved)
        whole = self.precision is Precision.FLOAT32
        index = expected.dtype.kind in "iub" and not whole  # which of near values is the largest, few bits decide
        if not by_value or not numbers.any() or index:
            return None
        error, moved = (np.where(numbers, values, 0.0) for values in (_errors(expected, found), moved))
        if whole:
            allowed = self._by_value(run, moved)
            worst = error - allowed == (error - allowed).max()
            far = f"{_words(expected, found, worst)}; expected an error of at most {allowed[worst].max():.3g}"
            return far if (error > allowed).any() else None
        shares = []
        for part in self.parts:
            inside = _part(part, numbers)
            mean = float(_part(part, error)[inside].mean()) if inside.any() else 0.0
            noise = _NOISE_ALLOWED * float(_part(part, moved).mean())
            limit = self._allowed(run, part)
            most = _MEAN_OF_ONE * limit + noise
            if self.precision not in OF_INTEGERS and mean > most:
                return f"{self.words(part)[2:]} the mean error is {mean:.3g}, expected at most {most:.3g}".strip()
            shares.append(mean / max(MEAN_OF_MANY * limit + noise, _TINY))
        return shares if self.precision in OF_INTEGERS else None

    def _by_value(self, run: int, moved: Array) -> npt.NDArray[np.float64]:
        """Return the error that each value of a run may have: by the whole output, and by its own columns."""
        allowed = np.zeros(moved.shape)
        for part in self.parts:
            theirs = self._moved(run, part) if part is not None else moved
            typical = np.quantile(theirs, _TYPICAL, method="lower") if theirs.size else 0.0
            most = np.maximum(self._allowed(run, part), _NOISE_ALLOWED * np.maximum(_part(part, moved), typical))
            where = _part(part, allowed)
            where[...] = most if part is None else np.minimum(where, most)
        return allowed

    def _moved(self, run: int, part: Span | None) -> Array:
        """Return how far rounding moves the values of a part, in all runs of the family of one."""
        moved = _part(part, self.runs.moved[self.name][self._family(run)], runs=True)
        return np.where(np.isfinite(moved), moved, 0.0)

    def _family(self, run: int) -> list[int]:
        return [i for i, of in enumerate(self.runs.families) if of == self.runs.families[run]]

    def _other_kind(self, expected: Array, found: Array, moved: Array) -> Truths:
        """Tell where a variant answers what is no number and the source a number, or (in float32) the reverse."""
        held: Truths = np.isfinite(moved)
        if np.isnan(expected).any():  # what NaN makes of its neighbours is nobody's rule
            held &= ~np.isnan(found)
        no_number: Truths = np.isfinite(expected) & ~np.isfinite(found)
        if self.precision is not Precision.FLOAT32:
            no_number &= np.abs(expected.astype(np.float64)) < _OVERFLOW
            return held & no_number
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        no_number |= ~np.isfinite(expected) & ~same
        return held & no_number

    def _allowed(self, run: int, part: Span | None = None) -> float:
        """Return the error that is allowed in a part wherever the source's value does not jump."""
        if part is not None:
            return self._allowed_in(part, run)
        limit, ordinary = parity.LIMITS[self.precision], self.ordinary.source[self.name]
        own = _scale(self.runs.source[self.name][self._family(run)])
        if ordinary.dtype.kind in "iub":
            return 0.0 if self.exact else _EXACT * own
        noise = self.ordinary.noise.get(self.name, 0.0)
        usual = parity.allowed_share(limit, ordinary, step=self.step, noise=noise) * comparison.scale(ordinary)
        if self.precision in OF_INTEGERS:
            return max(limit.relative * own, usual)
        return max(limit.relative * own, LEAST_SHARE * usual)

    def _allowed_in(self, part: Span, run: int) -> float:
        """Return the same for columns of one unit: infinite where they do not vary, or where too little is seen."""
        ordinary = part.of(self.ordinary.source[self.name])
        own = _part(part, self.runs.source[self.name][self._family(run)], runs=True)
        return columns.allowed(self.precision, ordinary, own)


def _part(part: Span | None, values: Array, *, runs: bool = False) -> Array:
    """Return a view of a part of one run's output [batch, …], or of several `runs`'."""
    if part is None:
        return values
    found: Array = part.of(values) if runs else part.of(values[np.newaxis])[0]
    return found


def _scale(values: Array) -> float:
    finite = values.astype(np.float64)[np.isfinite(values)]
    return comparison.scale(finite) if finite.size else 0.0


def _errors(expected: Array, found: Array) -> npt.NDArray[np.float64]:
    apart = comparison.errors(expected, found)
    if expected.dtype.kind in "iu":  # integers of 64 bits may differ by less than a float64 can tell
        return np.where(expected == found, 0.0, np.maximum(apart, 1.0))
    return apart


def _words(expected: Array, found: Array, where: Truths) -> str:
    first = tuple(np.argwhere(where)[0])
    place = f" at {list(map(int, first))}" if first else ""
    return f"the source answers {expected[first].item():.6g}{place} and the variant {found[first].item():.6g}"
