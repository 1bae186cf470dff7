"""The check of a source's weights. Imports TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm.errors import InputError

_MAX_FILE_BYTES = 2**31 - 1


def check(variables: Sequence[Any], *, path: Path) -> None:
    """Check that all weights are numbers, and that a model file can hold them.

    Raises:
        InputError: one is NaN or infinite, or together they are too large.
    """
    total = sum(math.prod(variable.shape) * tf.as_dtype(variable.dtype).size for variable in variables)
    if total > _MAX_FILE_BYTES:
        raise InputError(
            f"{path}: the weights take {total / 2**30:.1f} GiB; a .tflite or .onnx file holds at most 2 GiB: make the "
            "model smaller, or split it in two"
        )
    for variable in variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            name = getattr(variable, "path", variable.name)
            count = int((~np.isfinite(values)).sum())
            what = "1 value that is" if count == 1 else f"{count:,} values that are"
            raise InputError(f"{path}: weight {name} has {what} NaN or infinite; expected numbers: train it again")
