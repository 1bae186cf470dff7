"""The best classes in an answer, by the labels of a bundle. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from edgemm.errors import BadRequestError
from edgemm_runtime.tensors.element_types import OBJECT
from edgemm_runtime.tensors.named_arrays import Arrays


class Top(Struct, frozen=True):
    """A class of one sample, and its score."""

    label: str
    score: float


def best_classes(outputs: Arrays, labels: Sequence[str] | None, *, count: int) -> list[list[Top]]:
    """Return the best classes of each sample, best first, from the first output that has one value a label.

    Empty where there are no labels, or no such output.

    Raises:
        BadRequestError: fewer than one are wanted.
    """
    if count < 1:
        raise BadRequestError(f"expected the number of classes, at least 1, found {count}")
    for array in outputs.values():
        if labels and array.ndim == 2 and array.shape[1] == len(labels) and array.dtype is not OBJECT:
            best = np.argsort(-array.astype(np.float64), axis=1, kind="stable")[:, :count]
            return [
                [Top(labels[index], float(row[index])) for index in indices]
                for row, indices in zip(array, best, strict=True)
            ]
    return []
