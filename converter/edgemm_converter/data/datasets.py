"""Calibration and evaluation data in every form that a user may have: .npz, .npy, CSV, a folder of images.

Every form becomes arrays by input name, and `labels` where classes are known. Child processes read them as `.npz`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemm.errors import InputError
from edgemm_converter.data import arrays, images, preprocessing, record_files, tables
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.preprocessing import Declared

LABELS = tables.LABELS
_APART = 10.0
"""From this ratio on, two sets of data are of another scale, such as 0-1 and 0-255."""
_LIKE = 0.25
"""Below this ratio of distances, calibration data are like another input's evaluation data and unlike their own."""


@dataclass(frozen=True)
class Dataset:
    """Arrays [samples, …] by input name, `arrays.UNNAMED` for one without a name; and where they come from."""

    path: Path
    arrays: Mapping[str, Array]
    labels: Array | None = None

    def save(self, file: Path) -> None:
        """Write everything as one `.npz`."""
        everything = dict(self.arrays) if self.labels is None else {**self.arrays, LABELS: self.labels}
        np.savez(file, **{name or "input": array for name, array in everything.items()})  # type: ignore[arg-type]


def read(path: Path, *, declared: Declared, labels: Sequence[str] | None, labelled: bool, raw: bool = False) -> Dataset:
    """Read data; `labelled` data have an array, a column or folders of classes, others leave them aside.

    Cells of named columns, and names of classes, stay as they are where they are wanted `raw`.

    Raises:
        InputError: damaged, empty, of another kind, or not as `declared`.
    """
    if path.is_dir():
        return _images(path, declared, labels, labelled=labelled)
    if raw and path.suffix.lower() in record_files.SUFFIXES:
        columns = record_files.read(path)
        classes = columns.pop(LABELS, None)
        return Dataset(path, columns, classes if labelled else None)
    if path.suffix.lower() == ".csv":
        found = tables.read(path, labels=labels, labelled=labelled, raw=raw)
        classes = found.pop(LABELS, None)
        return Dataset(path, _prepared(found, declared, path=path), classes)
    found = arrays.read(path)
    classes = found.pop(LABELS, None) if labelled else None
    return Dataset(path, _prepared(found, declared, path=path), classes)


def sample_digests(inputs: Mapping[str, Array]) -> list[bytes]:
    """Return the SHA-256 of each sample over all inputs in the order of their names."""
    count = len(next(iter(inputs.values())))
    shas = [hashlib.sha256() for _ in range(count)]
    for name in sorted(inputs):
        for sha, sample in zip(shas, inputs[name], strict=True):
            sha.update(_bytes(sample))
    return [sha.digest() for sha in shas]


def _bytes(sample: Array) -> bytes:
    array = np.asarray(sample)
    return repr(array.tolist()).encode() if array.dtype.kind in "OU" else np.ascontiguousarray(array).tobytes()


def shared_samples(calibration: Mapping[str, Array], evaluation: Mapping[str, Array]) -> int:
    """Return how many evaluation samples are, to the bit, calibration samples too."""
    known = set(sample_digests(calibration))
    return sum(digest in known for digest in sample_digests(evaluation))


def check_scales(calibration: Mapping[str, Array], evaluation: Mapping[str, Array], *, path: str) -> None:
    """Check that calibration data vary, and lie on the scale of the evaluation data.

    One input may be the same in all samples where another varies, as an initial state of zeros is.

    Raises:
        InputError: they do not, so that quantization would cut values off or waste its steps.
    """
    constant = [name for name, array in calibration.items() if is_constant(array)]
    if len(constant) == len(calibration) and (name := constant[0]):
        value = calibration[name].flat[0]
        raise InputError(f"{path}: input {name!r} is {value:g} in every sample: expected real, varied inputs")
    for name, array in calibration.items():
        if array.dtype.kind != "f" or not array.size:
            continue
        other = evaluation.get(name)
        if other is None or not (spans := [_span(array), _span(other)]) or min(spans) == 0:
            continue
        if not 1 / _APART < spans[0] / spans[1] < _APART:
            pair = next((pair for pair in swapped(calibration, evaluation) if name in pair), None)
            advice = "scale both as the model expects"
            if pair is not None:
                advice = f"the arrays of {pair[0]!r} and {pair[1]!r} look swapped: check their names"
            raise InputError(
                f"{path}: input {name!r} ranges over {np.nanmin(array):g} to {np.nanmax(array):g} in the calibration "
                f"data and over {np.nanmin(other):g} to {np.nanmax(other):g} in the evaluation data: {advice}"
            )


def swapped(calibration: Mapping[str, Array], evaluation: Mapping[str, Array]) -> list[tuple[str, str]]:
    """Return pairs of inputs of one shape whose calibration data lie where the other's evaluation data do."""
    names = [name for name, array in calibration.items() if array.dtype.kind == "f" and name in evaluation]
    return [
        (one, other)
        for one, other in itertools.combinations(names, 2)
        if calibration[one].shape[1:] == calibration[other].shape[1:]
        and all(
            _distance(calibration[a], evaluation[b]) < _LIKE * _distance(calibration[a], evaluation[a])
            for a, b in ((one, other), (other, one))
        )
    ]


def _distance(first: Array, second: Array) -> float:
    """Return how far the ranges of two arrays are apart, without their extremes."""
    ends = [np.nanquantile(array, [0.01, 0.99]) for array in (first, second)]
    return float(np.abs(ends[0] - ends[1]).sum())


def is_constant(array: Array) -> bool:
    """Tell whether an input of floating-point numbers is one number in all of several samples."""
    return array.dtype.kind == "f" and len(array) > 1 and array.size > 0 and bool(array.min() == array.max())


def widened(value: float) -> float:
    """Return how far from 0, on either side, an integer input reaches that was this one number at calibration."""
    return max(1.0, abs(value))


def _span(array: Array) -> float:
    known = array[np.isfinite(array)]
    low, high = np.quantile(known, [0.01, 0.99]) if known.size else (0.0, 0.0)
    return float(high - low)


def _images(path: Path, declared: Declared, labels: Sequence[str] | None, *, labelled: bool) -> Dataset:
    named = [(name, steps) for name, steps in declared.items() if steps.one_hot is None]
    if len(named) != 1:
        raise InputError(
            f"{path}: a folder of images needs --preprocess with one table for the input that they make, "
            f"found {len(named)}"
        )
    (name, steps) = named[0]
    folder = images.read(path, steps, labels=labels if labelled else None)
    # Pixels as they are fit into inputs of integers too.
    samples = folder.samples.astype(np.uint8) if preprocessing.keeps_pixels(steps) else folder.samples
    return Dataset(path, {name: samples}, folder.labels if labelled else None)


def _prepared(found: Mapping[str, Array], declared: Declared, *, path: Path) -> dict[str, Array]:
    """Apply one-hot encoding to integers, and hold other declared inputs to what images can become."""
    alone = next(iter(declared)) if len(declared) == len(found) == 1 else None
    result = dict(found)
    for name, array in found.items():
        target = name if name in declared else alone
        if target is None:
            continue
        steps = declared[target]
        if steps.one_hot is not None and array.dtype.kind in "iu":
            result[name] = preprocessing.one_hot(array, depth=steps.one_hot, name=target, path=str(path))
        elif steps.one_hot is None and array.size:
            preprocessing.check_range(array, steps, name=target, path=str(path))
    return result
