"""A classifier's answers class by class: how often which class was answered, and the figures of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import metrics

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many samples are of it, and precision, recall and F1; None where nothing divides."""

    index: int
    samples: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Confused:
    """How often samples of one class were answered as another, by their indices."""

    truth: int
    answer: int
    samples: int


def counts(output: Array, truth: Array) -> Counts:
    """Return how often class `[truth, answer]` occurred; output [samples, …], truth class indices [samples]."""
    answers = metrics.classes(output)
    size = max(int(np.prod(output.shape[1:], dtype=np.int64)), 2)
    return np.bincount(truth * size + answers, minlength=size * size).reshape(size, size).astype(np.int64)


def figures(found: Counts) -> list[ClassFigures]:
    """Return the figures of each class that occurs, as truth or as answer."""
    right, said, true = np.diag(found), found.sum(axis=0), found.sum(axis=1)
    return [
        ClassFigures(
            index=index,
            samples=int(true[index]),
            precision=_share(right[index], said[index]),
            recall=_share(right[index], true[index]),
            f1=_share(2 * right[index], said[index] + true[index]),
        )
        for index in np.flatnonzero(said + true).tolist()
    ]


def most_confused(found: Counts, *, limit: int) -> Sequence[Confused]:
    """Return the commonest mistakes, the commonest first."""
    wrong = found - np.diag(np.diag(found))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [(*divmod(int(place), len(found)), int(wrong.flat[place])) for place in order]
    return [Confused(truth, answer, samples) for truth, answer, samples in pairs if samples]


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
