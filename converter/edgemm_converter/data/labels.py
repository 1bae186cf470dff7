"""The names of classes: from a text file with one name per line or from a JSON list, and which outputs they are of.

Labels are of the outputs of the first kind that there is:

1. scores along the last axis: an output that has as many values there (classifiers, segmentation);
2. class indices, whole numbers from 0 (or −1, which fills empty rows) to below the count in all answers: an output
   that is not always the same one, or that stands beside boxes of its shape (detectors whose boxes are chosen in the
   graph, segmentation after its arg-max); or the last of six columns (boxes, score and class);
3. scores along another axis: as many values there (maps with channels first), or 4 or 5 more along one of three axes
   (boxes, or boxes and objectness, before the classes: YOLO).

Otherwise they are refused. An output of class indices and its companions of the same shape are not taken for scores,
though there may be as many boxes as labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgemm import plain_text
from edgemm.bundle.manifest import LabelKind, LabelledOutput, Signature, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array

_BEFORE_CLASSES = (4, 5)
"""Values before the classes of a candidate: a box, or a box and whether there is anything."""
_BOX, _ROW, _CLASS_OF_ROW = 4, 6, 5
"""A box; a row of a box, a score and a class; and where the class stands in it."""
_OF_CANDIDATES = 3
"""Axes of an output of candidates: batch, candidates, and what is said of each."""


def read(path: Path) -> tuple[str, ...]:
    """Read labels.

    Raises:
        InputError: the file cannot be read, is empty, or its JSON is not a list of strings.
    """
    try:
        text = plain_text.read(path.read_bytes(), name=str(path))
        found = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.strip().splitlines()]
    except OSError as err:
        raise InputError(f"cannot read labels {path}: {err.strerror}") from err
    except ValueError as err:
        raise InputError(f"{path}: expected text with one label per line, or a JSON list: {err}") from err
    if not isinstance(found, list) or not found or not all(isinstance(label, str) and label for label in found):
        raise InputError(f"{path}: expected one label per line, or a JSON list of strings; none may be empty")
    return tuple(found)


def applied(
    labels: Sequence[str],
    signature: Signature,
    answers: Callable[[], Iterable[Mapping[str, Array]]],
    *,
    indices: str | None = None,
    whose: str = "--labels",
) -> tuple[LabelledOutput, ...]:
    """Return which outputs labels are of, none where it is scores along the last axis, as every runtime takes them.

    `answers` returns the outputs of the source by name, an iterable of sample sets [runs, …]; `indices` is the output
    that the model file itself says has class indices, and `whose` says where the labels come from.

    Raises:
        InputError: they are of no output.
    """
    count, outputs = len(labels), signature.outputs
    along_last = [spec for spec in outputs if spec.shape and spec.shape[-1] == count]
    values = _joined(answers()) if any(len(spec.shape) > 1 for spec in outputs) else {}
    by_index = [spec for spec in _with_indices(outputs, values, below=count) if indices in (None, spec.name)]
    beside = {spec.shape for spec in by_index}
    if any(spec.shape not in beside for spec in along_last):
        return ()
    if by_index:
        return tuple(LabelledOutput(output=spec.name, kind=LabelKind.INDICES) for spec in by_index)
    others = [*_in_a_column(outputs, values, below=count)]
    others = others or [one for spec in outputs for one in _along_another(spec, count=count)]
    if not others:
        raise InputError(_refusal(count, outputs, indices, whose=whose))
    return tuple(others)


def _joined(answers: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Return all values of each output that has an axis beside the batch, [values, last axis]."""
    found: dict[str, list[Array]] = {}
    for given in answers:
        for name, array in ((name, array) for name, array in given.items() if array.ndim > 2):  # [runs, batch, …]
            found.setdefault(name, []).append(array.reshape(-1, array.shape[-1]))
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def _with_indices(outputs: Sequence[TensorSpec], values: Mapping[str, Array], *, below: int) -> list[TensorSpec]:
    """Return the outputs that hold class indices alone; of those that never change the first that has boxes beside."""
    whole = [s for s in outputs if len(s.shape) > 1 and s.name in values and _are_indices(values[s.name], below=below)]
    # A score or a mask is 0 or 1 at its ends too: only from 2 on, or in a tensor of integers, a number is an index.
    varied = [
        spec for spec in whole if np.ptp(found := values[spec.name]) and (found.dtype.kind in "iu" or found.max() > 1)
    ]
    shapes = {spec.shape for spec in outputs}
    return varied or [spec for spec in whole if (*spec.shape, _BOX) in shapes][:1]


def _in_a_column(outputs: Sequence[TensorSpec], values: Mapping[str, Array], *, below: int) -> Iterable[LabelledOutput]:
    for spec in outputs:
        column = values[spec.name][:, _CLASS_OF_ROW] if spec.name in values and spec.shape[-1] == _ROW else None
        if column is not None and len(spec.shape) == _OF_CANDIDATES and _are_indices(column, below=below):
            axis = len(spec.shape) - 1
            yield LabelledOutput(output=spec.name, kind=LabelKind.INDICES, axis=axis, first=_CLASS_OF_ROW)


def _are_indices(values: Array, *, below: int) -> bool:
    if values.dtype.kind not in "iuf" or not values.size or not np.isfinite(values).all():
        return False
    return bool(values.min() >= -1 and values.max() < below and (values == np.round(values)).all())


def _along_another(spec: TensorSpec, *, count: int) -> list[LabelledOutput]:
    inner = range(1, len(spec.shape))
    exact = [axis for axis in inner if spec.shape[axis] == count]
    if exact:
        return [LabelledOutput(output=spec.name, kind=LabelKind.SCORES, axis=exact[0], first=0)]
    behind = [(axis, more) for axis in inner for more in _BEFORE_CLASSES if spec.shape[axis] == count + more]
    if len(spec.shape) != _OF_CANDIDATES or not behind:
        return []
    axis, first = behind[0]
    return [LabelledOutput(output=spec.name, kind=LabelKind.SCORES, axis=axis, first=first)]


def _refusal(count: int, outputs: Sequence[TensorSpec], indices: str | None, *, whose: str) -> str:
    sizes = [f"{spec.name} has {spec.shape[-1]}" for spec in outputs if spec.shape]
    found = ", ".join(sizes) or "no output has classes"
    if indices is not None:
        found += f"; {indices}, which the file says has class indices, names others"
    return (
        f"{whose}: {count} labels were given, and no output has as many values: {found}; none has class indices below "
        f"{count} either: give --labels with one for each class, in the model's order"
    )
