"""The judgement of variants on edge inputs, and the choice of those that become golden samples. Pure.

Here a source may answer what is no number; a variant then answers the same: NaN, +inf or -inf. Each value is held to
the precision's limit as a share of the scale of the family of its input (what is right for inputs of 1000 rounds more
than for inputs of 1e-6), or to 64 times as much as the source's own value moves by the last bits of its input, which is
much where a function jumps. Integers of integers are exact. Weights of half precision are far off where large inputs
cancel out, so that the mean of each run is judged.

Integers have a range. A variant of integers is judged by value where inputs and outputs are within the range of the
data (random, without), and elsewhere by being numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgemm.bundle.manifest import Precision, Variant
from edgemm.errors import ParityError
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import parity
from edgemm_runtime.tensors import comparison

Outputs = Mapping[str, Array]
Truths = npt.NDArray[np.bool_]

ON_EDGE = "on the edge input"
OF_INTEGERS = (
    Precision.INT8, Precision.INT16X8, Precision.INT8_DYNAMIC, Precision.MIXED, Precision.INT8_WEIGHTS,
    Precision.INT4_WEIGHTS,
)  # fmt: skip
_NOISE_ALLOWED = 64.0
"""Times what the source moves by the last bits of its input. Sums round more often than inputs do; of equal numbers,
which normalization takes from one another, that is all that is left."""
_NOISE_IN_GOLDEN = 8.0
_TYPICAL = 0.75
"""Up to this quantile of a run's values, what moves them is rounding rather than a jump."""

_MEAN_OF_ONE = 4.0
"""Times its limit that the mean error of a single run may be, which is a limit for many."""

_MEAN_OF_MANY, _FEW = 2.0, 8
"""The same for the mean of all runs that are within the range of the data, which count as so many at least."""

_LEAST_SHARE = 0.1
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


def judge(variant: Variant, runs: EdgeRuns, found: Outputs, *, ordinary: Ordinary) -> None:
    """Compare what a variant answers to the edge inputs with the source's answers.

    Raises:
        ParityError: an answer is another one; names the edge input.
    """
    inside = _inside(runs, ordinary)
    by_value = inside if variant.precision in OF_INTEGERS else np.ones(len(inside), bool)
    exact = not any(array.dtype.kind == "f" for array in runs.inputs.values())
    steps = {t.name: t.quantization.scale for t in variant.outputs if t.quantization is not None}
    for name, source in runs.source.items():
        parity.check_shape(variant.id, name, source=source, found=found[name])
        limits = _Limits(
            variant.precision,
            name,
            runs,
            ordinary,
            step=max(steps.get(name, 0.0), ordinary.steps.get(name, 0.0)),
            exact=exact,
        )
        errors: dict[int, float] = {}
        for run, case in enumerate(runs.names):
            answer = limits.judged(run, found[name][run, ...], by_value=bool(by_value[run]))
            if isinstance(answer, str):
                raise _wrong(variant, name, case, answer)
            if answer is not None:
                errors[run] = answer
        if errors and sum(errors.values()) > max(_FEW, len(errors)):
            worst = max(errors, key=lambda run: errors[run])
            share = errors[worst] * _MEAN_OF_MANY * parity.LIMITS[variant.precision].relative
            words = f"and others within the range of the data, the mean error is {share:.0%} of the source's scale"
            raise _wrong(variant, name, runs.names[worst], words)


def _wrong(variant: Variant, name: str, case: str, what: str) -> ParityError:
    return ParityError(
        f"{variant.id}, output {name!r}: {ON_EDGE} {case!r} {what}; no bundle was written: leave this variant out with "
        "--target or --precision, give --calibration with real inputs, which set the scale of edge inputs, or report "
        "the model"
    )


@dataclass(frozen=True)
class _Limits:
    """What one output of a variant is held to."""

    precision: Precision
    name: str
    runs: EdgeRuns
    ordinary: Ordinary
    step: float
    exact: bool

    def judged(self, run: int, found: Array, *, by_value: bool) -> str | float | None:
        """Say what is wrong with one answer; None where nothing is.

        Of a variant of integers the mean error is returned as a share of what many may have: which inner
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
            typical = np.quantile(moved, _TYPICAL, method="lower")
            allowed = np.maximum(self._allowed(run), _NOISE_ALLOWED * np.maximum(moved, typical))
            worst = error - allowed == (error - allowed).max()
            far = f"{_words(expected, found, worst)}; expected an error of at most {allowed[worst].max():.3g}"
            return far if (error > allowed).any() else None
        mean, noise = float(error[numbers].mean()), _NOISE_ALLOWED * float(moved.mean())
        if self.precision in OF_INTEGERS:
            return mean / max(_MEAN_OF_MANY * self._allowed(run) + noise, _TINY)
        most = _MEAN_OF_ONE * self._allowed(run) + noise
        return f"the mean error is {mean:.3g}, expected at most {most:.3g}" if mean > most else None

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

    def _allowed(self, run: int) -> float:
        """Return the error that is allowed wherever the source's value does not jump."""
        limit, ordinary = parity.LIMITS[self.precision], self.ordinary.source[self.name]
        family = [i for i, of in enumerate(self.runs.families) if of == self.runs.families[run]]
        own = _scale(self.runs.source[self.name][family])
        if ordinary.dtype.kind in "iub":
            return 0.0 if self.exact else _EXACT * own
        noise = self.ordinary.noise.get(self.name, 0.0)
        usual = parity.allowed_share(limit, ordinary, step=self.step, noise=noise) * comparison.scale(ordinary)
        if self.precision in OF_INTEGERS:
            return max(limit.relative * own, usual)
        return max(limit.relative * own, _LEAST_SHARE * usual)


def chosen(
    runs: EdgeRuns, found: Sequence[Outputs], *, ordinary: Ordinary, answers: Sequence[Outputs], limit: int
) -> list[int]:
    """Return which edge inputs may be golden samples: they come out right on another CPU, and widen no tolerance.

    `found` is what each variant answers to them, `answers` what to the ordinary golden samples. They vary in family.
    """
    good = [run for run in range(len(runs.names)) if _is_golden(run, runs, found, ordinary, answers)]
    first = {runs.families[run]: run for run in reversed(good)}
    return sorted(sorted(good, key=lambda run: (first[runs.families[run]] != run, run))[:limit])


def _is_golden(
    run: int, runs: EdgeRuns, found: Sequence[Outputs], ordinary: Ordinary, answers: Sequence[Outputs]
) -> bool:
    for name, usual in ordinary.source.items():
        source, scale = runs.source[name][run, ...], comparison.scale(usual)
        least = _LEAST_SHARE * parity.LIMITS[Precision.FLOAT32].relative * scale
        if not np.isfinite(source).all() or _NOISE_IN_GOLDEN * runs.moved[name][run, ...].max(initial=0.0) > least:
            return False
        if not _within(source, usual):
            return False
        for theirs, ordinarily in zip(found, answers, strict=True):
            most = max(comparison.largest_error(usual, ordinarily[name]), least)
            if not comparison.largest_error(source, theirs[name][run, ...]) <= most:
                return False
        if comparison.is_distribution(usual) and not _is_decided(source, gap=_LEAST_SHARE * scale):
            return False
    return True


def _is_decided(rows: Array, *, gap: float) -> bool:
    best = np.sort(rows.astype(np.float64), axis=-1)
    return bool((best[..., -1] - best[..., -2] > gap).all())


def _inside(runs: EdgeRuns, ordinary: Ordinary) -> Truths:
    """Tell for each run whether its inputs and the source's outputs are within the range of ordinary ones."""
    return np.array(
        [
            all(_within(of[name][run, ...], usual[name]) for of, usual in _pairs(runs, ordinary) for name in of)
            for run in range(len(runs.names))
        ],
        bool,
    )


def _pairs(runs: EdgeRuns, ordinary: Ordinary) -> Iterator[tuple[Outputs, Outputs]]:
    yield runs.inputs, ordinary.inputs
    yield runs.source, ordinary.source


def _within(values: Array, usual: Array) -> bool:
    if not values.size or not usual.size:
        return True
    return bool(np.isfinite(values).all() and usual.min() <= values.min() and values.max() <= usual.max())


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
