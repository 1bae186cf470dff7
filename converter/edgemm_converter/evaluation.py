"""Labelled data (`--eval`) and the accuracy of a model on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm.errors import InputError
from edgemm_converter.arrays import Array

LABELS = "labels"
ACCURACY = "accuracy"
METRICS = (ACCURACY,)


@dataclass(frozen=True)
class LabelledData:
    """Arrays of inputs, and one label for each sample."""

    inputs: Mapping[str, Array]
    labels: npt.NDArray[np.int64]


def split(arrays: Mapping[str, Array], *, path: str) -> LabelledData:
    """Take the labels out of an evaluation file: integers [samples], or one-hot [samples, classes].

    Raises:
        InputError: there are none, or no such ones.
    """
    if LABELS not in arrays or len(arrays) < 2:
        raise InputError(
            f"{path}: expected a .npz of inputs and {LABELS!r}, found {', '.join(sorted(arrays)) or 'none'}"
        )
    labels = arrays[LABELS]
    if labels.ndim == 2:
        labels = labels.argmax(axis=1) if labels.shape[1] > 1 else labels.reshape(-1)
    if labels.ndim != 1 or labels.dtype.kind not in "biuf" or not (labels == np.round(labels)).all():
        raise InputError(
            f"{path}: expected {LABELS!r} to be integers [samples] or one-hot [samples, classes], "
            f"found {arrays[LABELS].dtype}{list(arrays[LABELS].shape)}"
        )
    return LabelledData({n: a for n, a in arrays.items() if n != LABELS}, labels.astype(np.int64))


def scored_output(outputs: Mapping[str, Array], *, path: str) -> str:
    """Return the name of the one output [samples, 1, classes] that labels can be about.

    Raises:
        InputError: there is none, or more than one.
    """
    fitting = [name for name, array in outputs.items() if array.ndim == 3 and array.dtype.kind == "f"]
    if len(fitting) != 1:
        raise InputError(
            f"{path}: accuracy needs exactly one output of shape [batch, classes], found {len(fitting)}: "
            f"{', '.join(fitting) or 'none'}; leave --eval out"
        )
    return fitting[0]


def accuracy(output: Array, labels: npt.NDArray[np.int64], *, path: str) -> float:
    """Return the share of right answers of an output [samples, 1, classes]; one column is a probability, cut at 0.5.

    Raises:
        InputError: as many labels as samples were expected, or a label has no class.
    """
    scores = output.reshape(len(output), -1)
    classes = max(scores.shape[1], 2)
    if len(labels) != len(scores):
        raise InputError(f"{path}: expected one label for each of {len(scores)} samples, found {len(labels)}")
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"{path}: expected labels from 0 to {classes - 1}, found {labels.min()} to {labels.max()}")
    predicted = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0.5).astype(np.int64)
    return float((predicted == labels).mean())
