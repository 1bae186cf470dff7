"""Parity: the error of a variant's outputs against those of its source, and the limit of that error. Pure.

A source and a variant are compared output by output, by name, over a whole set of samples. The error that is judged is
relative to the scale of the source's output, so that no model needs limits of its own. The arithmetic is the device's,
`edgemm_runtime.tensors.comparison`; beside that, a value that is NaN or infinite is refused here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm import figures
from edgemm.bundle.manifest import OutputParity, Precision, Statistic
from edgemm.errors import ParityError
from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors import comparison


@dataclass(frozen=True)
class ParityLimit:
    """What the error of one precision is measured by, and its limit as a share of the output's scale."""

    statistic: Statistic
    relative: float


LIMITS: Mapping[Precision, ParityLimit] = {
    # Rounding in another order of additions stays orders of magnitude below; a wrong operation does not.
    Precision.FLOAT32: ParityLimit(Statistic.MAX, 1e-4),
    # Half precision keeps 11 bits of each weight.
    Precision.FLOAT16: ParityLimit(Statistic.MAX, 2e-2),
    # With 8 bits one sample near a decision boundary may rightly move far, so the mean is judged: 5 % of the range is
    # 13 quantization steps, while constant, permuted or scrambled outputs are at 10 % and more.
    Precision.INT8_DYNAMIC: ParityLimit(Statistic.MEAN, 5e-2),
    Precision.INT8: ParityLimit(Statistic.MEAN, 5e-2),
    Precision.INT16X8: ParityLimit(Statistic.MEAN, 5e-2),
    Precision.MIXED: ParityLimit(Statistic.MEAN, 5e-2),
    Precision.INT8_WEIGHTS: ParityLimit(Statistic.MEAN, 5e-2),
    Precision.INT4_WEIGHTS: ParityLimit(Statistic.MEAN, 5e-2),
}
_STEPS_ALLOWED = 2.0
_NOISE_ALLOWED = 8.0
_NOISE_EXCUSES: Mapping[Statistic, float] = {Statistic.MAX: 10.0, Statistic.MEAN: 2.0}
"""Times a limit that rounding may excuse; a mean of more than 10 % of the range is what a constant answer has too."""


def compare(name: str, source: Array, found: Array) -> OutputParity:
    """Return how far one output is from the source's; both have shape [runs, …].

    `cosine` is the smallest of any run; the arg-max is compared where the output is a distribution over classes.
    """
    expected, actual = source.astype(np.float64), found.astype(np.float64)
    error = comparison.errors(source, found)
    spread = comparison.spread(source)
    max_abs = float(error.max(initial=0.0))
    return OutputParity(
        name=name,
        max_abs=max_abs,
        mean_abs=float(error.mean()) if error.size else 0.0,
        range=spread,
        relative=min(max_abs / (spread or 1.0), sys.float_info.max),  # JSON has no infinity
        cosine=float(_cosines(expected, actual).min()),
        argmax_agreement=argmax_agreement(source, found) if comparison.is_distribution(source) else None,
    )


def allowed_share(limit: ParityLimit, source: Array, *, step: float, noise: float) -> float:
    """Return the limit for one output, as a share of its scale.

    It is the precision's; more where the output itself is coarser: two quantization `step`s of the variant's output,
    or eight times the `noise` by which rounding alone moves the source, up to ten times the precision's limit, twice
    where that is one of the mean error.
    """
    size = comparison.scale(source)
    rounding = min(_NOISE_ALLOWED * noise / size, _NOISE_EXCUSES[limit.statistic] * limit.relative)
    return max(limit.relative, rounding, _STEPS_ALLOWED * step / size)


def judge(
    variant: str, parity: OutputParity, *, statistic: Statistic, share: float, source: Array, noise: float, data: str
) -> None:
    """Check one output against its limit, a share of the scale of the source's output, which rounding moves by `noise`.

    Raises:
        ParityError: it is over the limit.
    """
    error = parity.max_abs if statistic is Statistic.MAX else parity.mean_abs
    allowed = share * comparison.scale(source)
    if not error <= allowed:
        advice = "leave this variant out with --target or --precision, or report the model"
        if noise > allowed:
            advice = (
                f"the source's own answer moves by {noise:.3g} where only the last bits of its inputs change, so that "
                "right cannot be told from wrong: train it, or look for activations that grow from layer to layer"
            )
        raise ParityError(
            f"{variant}, output {parity.name!r}: the {statistic} error on {data} data is {error:.3g}, expected "
            f"at most {allowed:.3g} ({share:.1e} of the source's scale); no bundle was written: {advice}"
        )


def check_shape(variant: str, name: str, *, source: Array, found: Array) -> None:
    """Check that an output has the source's shape.

    Raises:
        ParityError: it has another.
    """
    if source.shape != found.shape:
        raise ParityError(
            f"{variant}, output {name!r}: expected shape {list(source.shape[1:])} as in the source, found "
            f"{list(found.shape[1:])}; no bundle was written: leave this variant out with --target or --precision"
        )


def check_finite(arrays: Mapping[str, Array], *, whose: str, data: str) -> None:
    """Check that outputs are numbers.

    Raises:
        ParityError: an output has NaN or infinite values.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            found = figures.part(int((~np.isfinite(array)).sum()), array.size)
            raise ParityError(
                f"{whose}, output {name!r}: {found} on {data} data are NaN or infinite; expected "
                "numbers; no bundle was written: look for NaN in the weights or an overflow"
            )


def distributions(outputs: Mapping[str, Array]) -> Sequence[str]:
    """Return the names of the outputs that hold probabilities."""
    return [name for name, array in outputs.items() if comparison.is_distribution(array)]


def argmax_agreement(source: Array, found: Array) -> float:
    """Return the share of runs in which the largest class of every row is the source's."""
    same = comparison.same_classes(source, found)
    return float(same.reshape(len(same), -1).all(axis=1).mean())


def _cosines(expected: Array, actual: Array) -> npt.NDArray[np.float64]:
    left, right = (_at_most_one(array.reshape(len(array), -1)) for array in (expected, actual))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = ~left.any(axis=1) & ~right.any(axis=1)
    dots: npt.NDArray[np.float64] = (left * right).sum(axis=1)
    return np.where(norms > 0, dots / np.where(norms > 0, norms, 1.0), both_zero.astype(np.float64))


def _at_most_one(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return rows divided by their largest magnitude, whose squares neither overflow nor vanish."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled: npt.NDArray[np.float64] = rows / np.where(largest > 0, largest, 1.0)
    return scaled
