"""Metrics of a model on labelled data, and the drop of a variant below its source. Pure.

Outputs are [samples, …] and are flattened to one row of numbers a sample. Labels are class indices [samples]; for the
metrics of numbers they are the wanted numbers, in the outputs' shape. A drop is positive where the variant is worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from edgemm.bundle.manifest import Drop
from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors import comparison

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

RESAMPLES = 1000
CONFIDENCE = 0.95
_SEED = 0
_Z = 1.959963984540054  # the normal distribution's quantile at 0.975


class Metric(StrEnum):
    """What is measured; F1, precision, recall and AUC are unweighted means over classes (macro), R² over places."""

    ACCURACY = "accuracy"
    F1 = "f1"
    PRECISION = "precision"
    RECALL = "recall"
    MSE = "mse"
    AUC = "auc"
    MAE = "mae"
    R2 = "r2"

    @property
    def is_of_numbers(self) -> bool:
        """Whether it compares numbers with wanted ones, and not classes."""
        return self in (Metric.MSE, Metric.MAE, Metric.R2)

    @property
    def is_error(self) -> bool:
        """Whether less is better."""
        return self in (Metric.MSE, Metric.MAE)

    def worse(self, before: float, after: float) -> float:
        """Return by how much `after` is worse than `before`."""
        return after - before if self.is_error else before - after


def score(metric: Metric, output: Array, truth: Array) -> float:
    """Return the metric of an output [samples, …].

    Raises:
        InputError: there is not one label for each sample, or a label has no class, or the metric is not defined.
    """
    rows = _rows(output)
    _check(metric, rows, truth)
    return _STATISTICS[metric](rows, truth)


def drop(metric: Metric, source: Array, variant: Array, truth: Array) -> Drop:
    """Return how much worse `variant` is than `source` on the same samples.

    The interval of the accuracy is Tango's score interval for paired proportions (Statistics in Medicine 17, 1998,
    891-908), which stays honest where few or no answers differ; the others are percentiles of a paired bootstrap from
    a fixed seed (Efron and Tibshirani 1993, chapter 13). Where no resample differs there is nothing to take percentiles
    of, and it is Tango's of no differing answer: few samples without a difference prove little.

    Raises:
        InputError: as for `score`.
    """
    before, after = score(metric, source, truth), score(metric, variant, truth)
    value = metric.worse(before, after)
    left, right = _rows(source), _rows(variant)
    if metric is Metric.ACCURACY:
        good, bad = classes(left) == truth, classes(right) == truth
        low, high = paired_interval(int((good & ~bad).sum()), int((~good & bad).sum()), len(truth))
    else:
        low, high = _bootstrap(metric, left, right, truth)
        if low == high == 0 and not metric.is_of_numbers:
            low, high = paired_interval(0, 0, len(truth))
    return Drop(value=value, low=min(low, value), high=max(high, value))


def classes(output: Array) -> Integers:
    """Return the class of each sample: the largest score, or a lone probability cut at 0.5."""
    rows = _rows(output)
    found: Integers = (comparison.classes(rows) if rows.shape[1] > 1 else rows[:, 0] > 0.5).astype(np.int64)
    return found


def paired_interval(lost: int, gained: int, samples: int, *, z: float = _Z) -> tuple[float, float]:
    """Return Tango's interval of (lost − gained) ÷ samples.

    `lost` samples were right in the source alone, `gained` ones in the variant alone.
    """

    def statistic(delta: float) -> float:
        a = 2.0 * samples
        b = -lost - gained + (2.0 * samples - lost + gained) * delta
        c = -gained * delta * (1.0 - delta)
        q = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
        variance = samples * (2.0 * q + delta * (1.0 - delta))
        return (lost - gained - samples * delta) / math.sqrt(max(variance, 1e-300))

    middle = (lost - gained) / samples
    return _root(statistic, z, low=-1.0, high=middle), _root(statistic, -z, low=middle, high=1.0)


def _root(statistic: Callable[[float], float], wanted: float, *, low: float, high: float) -> float:
    """Bisect for where a falling function has a value."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if statistic(middle) > wanted else (low, middle)
    return (low + high) / 2


def _bootstrap(metric: Metric, source: Floats, variant: Floats, truth: Array) -> tuple[float, float]:
    statistic, rng = _STATISTICS[metric], np.random.default_rng(_SEED)
    found = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(truth), len(truth))
        labels = truth[chosen]
        if metric is Metric.AUC and len(np.unique(labels)) < 2:
            continue
        found.append(metric.worse(statistic(source[chosen], labels), statistic(variant[chosen], labels)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _rows(output: Array) -> Floats:
    rows: Floats = output.reshape(len(output), -1).astype(np.float64)
    return rows


def _check(metric: Metric, rows: Floats, truth: Array) -> None:
    if len(truth) != len(rows):
        raise InputError(f"expected one label for each of {len(rows)} samples, found {len(truth)}")
    if metric.is_of_numbers:
        if truth.size != rows.size:
            raise InputError(
                f"{metric} needs as many wanted numbers as the output has, {rows.shape[1]} a sample; "
                f"found labels of shape {list(truth.shape)}"
            )
        return
    count = max(rows.shape[1], 2)
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise InputError(f"{metric} needs one class index for each sample, found {truth.dtype}{list(truth.shape)}")
    if truth.min() < 0 or truth.max() >= count:
        numbers = "; of numbers, as a regression answers, give --metric mse, mae or r2" if rows.shape[1] == 1 else ""
        raise InputError(f"expected labels from 0 to {count - 1}, found {truth.min()} to {truth.max()}{numbers}")
    if metric is Metric.AUC and len(np.unique(truth)) < 2:
        raise InputError(f"auc needs samples of two classes or more, found class {truth[0]} alone")


def _accuracy(rows: Floats, truth: Array) -> float:
    return float((classes(rows) == truth).mean())


def _mse(rows: Floats, truth: Array) -> float:
    return float(((rows - _wanted(rows, truth)) ** 2).mean())


def _mae(rows: Floats, truth: Array) -> float:
    return float(np.abs(rows - _wanted(rows, truth)).mean())


def _r2(rows: Floats, truth: Array) -> float:
    """Return the mean over places of R²: 1 or 0 where all wanted numbers are the same, met or not."""
    wanted = _wanted(rows, truth)
    missed = ((rows - wanted) ** 2).sum(axis=0)
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
    same = np.where(missed == 0, 1.0, 0.0)
    return float(np.where(spread > 0, 1.0 - missed / np.where(spread > 0, spread, 1.0), same).mean())


def _wanted(rows: Floats, truth: Array) -> Floats:
    return truth.reshape(rows.shape).astype(np.float64)


def _counts(rows: Floats, truth: Array) -> tuple[Floats, Floats, Floats]:
    """Return for each class that occurs: how often right, predicted, true."""
    predicted, size = classes(rows), max(rows.shape[1], 2)
    right = np.bincount(truth[predicted == truth], minlength=size).astype(np.float64)
    said = np.bincount(predicted, minlength=size).astype(np.float64)
    true = np.bincount(truth, minlength=size).astype(np.float64)
    occurs = (said + true) > 0
    return right[occurs], said[occurs], true[occurs]


def _precision(rows: Floats, truth: Array) -> float:
    right, said, _ = _counts(rows, truth)
    return float((right / np.maximum(said, 1)).mean())


def _recall(rows: Floats, truth: Array) -> float:
    right, _, true = _counts(rows, truth)
    return float((right / np.maximum(true, 1)).mean())


def _f1(rows: Floats, truth: Array) -> float:
    right, said, true = _counts(rows, truth)
    return float((2 * right / (said + true)).mean())


def _auc(rows: Floats, truth: Array) -> float:
    """Return the area under the ROC curve: of class 1 where there are two, else the mean of each class against all."""
    if rows.shape[1] <= 2:
        return _area(rows[:, -1], truth == 1)
    return float(np.mean([_area(rows[:, c], truth == c) for c in np.unique(truth)]))


def _area(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Return the share of pairs in order, ties half: the Mann-Whitney statistic from mid-ranks."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    ones = int(positive.sum())
    zeros = len(scores) - ones
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


_STATISTICS: Mapping[Metric, Callable[[Floats, Array], float]] = {
    Metric.ACCURACY: _accuracy,
    Metric.F1: _f1,
    Metric.PRECISION: _precision,
    Metric.RECALL: _recall,
    Metric.MSE: _mse,
    Metric.AUC: _auc,
    Metric.MAE: _mae,
    Metric.R2: _r2,
}
