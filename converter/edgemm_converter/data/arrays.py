"""Array files that a user gives: `.npz` and `.npy` calibration and evaluation data, matched to a model's inputs.

Files are read without pickle: an array file is data, never code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import InputError
from edgemm_runtime.tensors import npy
from edgemm_runtime.tensors.named_inputs import by_name

Array: TypeAlias = npt.NDArray[Any]
UNNAMED = npy.UNNAMED
_CHARACTER, _MOST_TEXT_BYTES = 4, 2 * 2**30


def read(path: Path) -> dict[str, Array]:
    """Read a `.npz` (name → array) or a `.npy` (its array is named `UNNAMED`).

    Raises:
        InputError: as `npy.load`, or there is no array.
    """
    if not (arrays := npy.load(path)):
        raise InputError(f"{path}: expected at least one array, found none")
    return arrays


def of_texts(texts: Sequence[str], name: str, *, path: str) -> Array:
    """Return a column of texts [samples], each with as much room as the longest.

    Raises:
        InputError: that is too much.
    """
    longest = max(map(len, texts), default=0)
    if (size := _CHARACTER * longest * len(texts)) > _MOST_TEXT_BYTES:
        raise InputError(
            f"{path}: column {name!r} has {len(texts):,} texts, the longest of {longest:,} characters, which take "
            f"{size / 2**30:.1f} GiB, expected at most {_MOST_TEXT_BYTES / 2**30:.0f} GiB: give fewer samples, or "
            "leave the longest out"
        )
    return np.array(texts, np.str_)


def match(arrays: Mapping[str, Array], inputs: tuple[TensorSpec, ...], *, path: str) -> dict[str, Array]:
    """Return the array of each input, in the input's dtype, all of one length.

    One array for one input may have any name; several go by the names of the inputs. The first axis counts the
    samples: it stands in the place of a variable batch, or before the shape of an input without one. Where the batch is
    fixed it may stand in its place too, if it does for all inputs: such samples are `rows_together`.

    Raises:
        InputError: names, shapes, dtypes or lengths do not fit, or a value is NaN or infinite.
    """
    if (named := by_name(arrays, inputs)) is None:
        expected, found = sorted(spec.name for spec in inputs), sorted(name or "one unnamed array" for name in arrays)
        raise InputError(f"{path}: expected one array for each input, {', '.join(expected)}; found {', '.join(found)}")
    result = {spec.name: _fit(named[spec.name], spec, path=path) for spec in inputs}
    lengths = {name: len(array) for name, array in result.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{path}: expected as many samples for each input, found {lengths}")
    if not next(iter(lengths.values())):
        raise InputError(f"{path}: expected at least one sample, found none")
    rows = {spec.name: rows_together(spec, result[spec.name]) for spec in inputs}
    if len(set(rows.values())) > 1:
        batches = ", ".join(f"{name} {'no batch' if count is None else count}" for name, count in rows.items())
        raise InputError(
            f"{path}: expected samples of one fixed batch for all inputs, found {batches}: give what a whole run "
            "takes, [runs, *shape], for each input"
        )
    return result


def rows_together(spec: TensorSpec, array: Array) -> int | None:
    """Return how many samples one run takes, where the array has them one by one and the batch is fixed; else None."""
    fixed = bool(spec.shape) and spec.shape[0] != -1
    return spec.shape[0] if fixed and array.ndim == len(spec.shape) else None


def sample_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one sample in an array file: without the batch, where that is variable."""
    return spec.shape[1:] if spec.shape[:1] == (-1,) else spec.shape


def spread(count: int, *, limit: int) -> npt.NDArray[np.int64]:
    """Return at most `limit` indices, spread evenly over `count` samples."""
    return np.unique(np.linspace(0, count - 1, num=min(count, limit)).round().astype(np.int64))


def _unfolded(lines: Array, shape: tuple[int, ...]) -> Array:
    """Return the lines of a CSV in the shape of an input that has as many numbers, the last axis varying fastest."""
    fits = -1 not in shape and lines.ndim == 2 and lines.shape[1] == math.prod(shape)
    return lines.reshape(-1, *shape) if fits else lines


def _texts(array: Array, spec: TensorSpec, *, path: str) -> Array:
    if array.dtype.kind not in "OU" or array.ndim != len(sample_shape(spec)) + 1:
        raise InputError(
            f"{path}: input {spec.name!r}: expected texts of shape [samples], found {array.dtype} of shape "
            f"{list(array.shape)}"
        )
    return array.astype(object)


def _fit(array: Array, spec: TensorSpec, *, path: str) -> Array:
    if spec.dtype is DType.STRING:
        return _texts(array, spec, path=path)
    shape, dtype = sample_shape(spec), np.dtype(spec.dtype.value)
    of_csv = path.lower().endswith(".csv")
    array = _unfolded(array, shape) if of_csv else array
    if rows_together(spec, array) is not None or (of_csv and array.ndim == 2 and len(spec.shape) > 2):
        rows = spec.shape[1:]
        one_by_one = _unfolded(array, rows) if of_csv else array
        array, shape = (one_by_one, rows) if one_by_one.ndim == len(rows) + 1 else (array, shape)
        if shape is rows and spec.shape[0] == 1:
            array, shape = array[:, np.newaxis], spec.shape  # a run takes one sample
    good = array.ndim == len(shape) + 1 and all(d in (-1, n) for d, n in zip(shape, array.shape[1:], strict=True))
    if not good:
        wanted = ["samples", *("any" if d == -1 else d for d in shape)]
        raise InputError(
            f"{path}: input {spec.name!r}: expected shape [{', '.join(map(str, wanted))}], found {list(array.shape)}"
        )
    if not np.can_cast(array.dtype, dtype, casting="same_kind") or array.dtype.kind not in "biuf":
        raise InputError(f"{path}: input {spec.name!r}: expected dtype {dtype}, found {array.dtype}: convert the array")
    if array.dtype.kind == "f" and not (np.isfinite(array) | (np.isnan(array) & bool(spec.missing))).all():
        missing = ", and the model takes no missing values" if np.isnan(array).any() and not spec.missing else ""
        raise InputError(f"{path}: input {spec.name!r}: expected finite numbers, found NaN or infinity{missing}")
    cast = np.ascontiguousarray(array, dtype=dtype)
    if array.dtype.kind in "iu" and not (cast == array).all():
        raise InputError(f"{path}: input {spec.name!r}: expected {dtype}, found integers that do not fit into it")
    return cast
