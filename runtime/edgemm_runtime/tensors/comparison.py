"""The comparison of two answers to one request: which class each row names, and how far apart values are. Pure.

Golden samples (at the self-test, at start and on probation), shadows and the converter's parity all compare by this
arithmetic. What they make of it differs, since they ask different things, and stays with each of them:

* golden samples hold one variant to tolerances in the output's unit (`golden`);
* a shadow is not judged: its errors are counted as a share of the range, and its rows by class (`shadow.counting`);
* parity judges a converted file by its errors relative to `scale`, and refuses what is no number (`parity`).

Rules:

* an error is |found − expected|, computed in float64; it is 0 for equal values, equal infinities and NaN on both sides,
  and infinite where one side alone is NaN, or infinite, or shapes differ: it is never NaN;
* of strings it is 0 where they are the same and 1 where they are not;
* a row is what lies along the last axis; its class is the place of the largest value, the first of equal ones, and of
  the first NaN where there is one (`numpy.argmax`); nothing to choose from is one class, as of an output of rank 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm.bundle.column_figures import ColumnTolerance
from edgemm.bundle.manifest import DType, Manifest, TensorSpec, Tolerance
from edgemm.bundle.other_kernels import KernelTolerance
from edgemm_runtime.tensors.element_types import OBJECT
from edgemm_runtime.tensors.named_arrays import Array

Floats = npt.NDArray[np.float64]
_MAGNITUDE_SHARE = 0.1
_SMALLEST_SCALE = 1e-6
_SUMS_TO_ONE = 1e-3


@dataclass(frozen=True)
class ColumnError:
    """Columns of an output that are further off than they may be, and how far."""

    column: ColumnTolerance
    error: float


def errors(expected: Array, found: Array) -> Floats:
    """Return how far each value is from what was expected; both have one shape."""
    if OBJECT in (expected.dtype, found.dtype):
        return np.asarray(np.not_equal(expected, found), np.float64)
    left, right = expected.astype(np.float64), found.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(same, 0.0, np.abs(left - right))
    return np.nan_to_num(apart, nan=math.inf, posinf=math.inf)


def largest_error(expected: Array, found: Array) -> float:
    """Return the largest error; infinite where shapes differ, 0 for no values."""
    return float(errors(expected, found).max(initial=0.0)) if expected.shape == found.shape else math.inf


def column_beyond(expected: Array, found: Array, columns: Iterable[ColumnTolerance]) -> ColumnError | None:
    """Return the first columns whose largest error is more than they may have; both arrays are of one run."""
    apart: Floats | None = None
    for column in columns:
        apart = errors(expected, found) if apart is None else apart
        there = (slice(None),) * column.axis + (slice(column.start, column.stop),)
        if (error := float(apart[there].max(initial=0.0))) > column.max_abs:
            return ColumnError(column, error)
    return None


def spread(values: Array) -> float:
    """Return the range of values: the largest less the smallest, of those that are finite; 0 where there are none.

    That of strings is 1: so far apart are two that differ.
    """
    if values.dtype is OBJECT:
        return 1.0
    finite = values.astype(np.float64)[np.isfinite(values)]
    return float(finite.max() - finite.min()) if finite.size else 0.0


def scale(values: Array) -> float:
    """Return what errors of finite values are relative to: their range, or a tenth of their magnitude if that is more.

    The magnitude keeps an output that hardly varies from being held to less than a float can hold.
    """
    largest = float(np.abs(values.astype(np.float64)).max(initial=0.0))
    return max(spread(values), _MAGNITUDE_SHARE * largest, _SMALLEST_SCALE)


def classes(output: Array) -> npt.NDArray[np.intp]:
    """Return the class that each row of an output [..., classes] names."""
    return output.argmax(axis=-1) if output.ndim and output.size else np.zeros(output.shape[:-1], np.intp)


def same_classes(expected: Array, found: Array) -> npt.NDArray[np.bool_]:
    """Tell for each row whether both name one class; the two may differ in how many classes they choose from.

    Of strings, whether all of them are the same.
    """
    if OBJECT in (expected.dtype, found.dtype):
        if expected.shape != found.shape:
            return np.zeros(expected.shape[:-1], np.bool_)
        return np.asarray(np.asarray(np.equal(expected, found), np.bool_).all(axis=-1 if expected.ndim else None))
    same: npt.NDArray[np.bool_] = classes(expected) == classes(found)
    return same


def disagreements_allowed(tolerance: Tolerance | KernelTolerance, *, samples: int) -> int | None:
    """Return how many of so many golden samples may name another class; None where classes are not compared."""
    if tolerance.min_argmax_agreement is None:
        return None
    # The 1e-9 keeps a share such as 0.9 of 10, which no float holds exactly, from becoming one sample less.
    return math.floor((1 - tolerance.min_argmax_agreement) * samples + 1e-9)


def is_class_like(manifest: Manifest, spec: TensorSpec) -> bool:
    """Tell by a bundle whether the largest value along an output's last dimension names a class.

    It does where golden samples are held to a share of equal classes, which the converter writes where the source's
    output `is_distribution`, and where the last dimension has one value for each label.
    """
    if len(spec.shape) < 2 or spec.shape[-1] == 1 or spec.dtype is DType.STRING:
        return False
    tolerances = [by_output.get(spec.name) for by_output in manifest.golden.tolerance.values()]
    judged = any(t is not None and t.min_argmax_agreement is not None for t in tolerances)
    labels = score_labels(manifest)
    return judged or (labels is not None and has_labels(spec.shape, labels))


def score_labels(manifest: Manifest) -> Sequence[str] | None:
    """Return the labels of scores along an output's last axis: none where labels are of anything else."""
    return () if manifest.labels_of else manifest.labels


def has_labels(shape: tuple[int, ...], labels: Sequence[str]) -> bool:
    """Tell whether an output [batch, …, classes] of this shape has one value for each label."""
    return len(shape) >= 2 and shape[-1] == len(labels)


def is_distribution(output: Array) -> bool:
    """Tell by its values whether an output [runs, batch, …, classes] is class-like, for want of a bundle that says so.

    It is where it holds probabilities: two or more a row, none negative, that sum to 1.
    """
    if output.dtype.kind != "f" or output.ndim < 3 or output.shape[-1] < 2:
        return False
    values = output.astype(np.float64)
    return bool((values >= 0).all() and np.allclose(values.sum(axis=-1), 1.0, atol=_SUMS_TO_ONE))
