"""Class indices as an input that a bundle declares `one_hot`: each integer becomes a row with a single 1. Pure.

Rows are taken as they are, so that a client which makes them itself goes on working. Where numbers may be both, as
three for a model of three classes, they are rows if each has a single 1 and zeros beside it.
"""

from __future__ import annotations

import numpy as np

from edgemm.bundle.manifest import Preprocessing, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.tensors.inputs import fits
from edgemm_runtime.tensors.named_arrays import Array


def rows(found: Array, spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return numbers as the input takes them, in the dtype that they have; a single sample may lack the batch.

    Raises:
        BadRequestError: they have the shape of indices, and one is no integer or none of the classes.
    """
    depth = steps.one_hot if steps is not None else None
    if depth is None or len(spec.shape) < 2:
        return found
    indices = fits(spec.shape[:-1], found.shape) or fits(spec.shape[1:-1], found.shape)
    given_rows = fits(spec.shape, found.shape) or fits(spec.shape[1:], found.shape)
    if not indices or (given_rows and _are_rows(found, depth)):
        return found
    whole = found.dtype.kind in "iu" or (found == np.round(found)).all()
    if not whole or found.min() < 0 or found.max() >= depth:
        if given_rows:
            return found
        raise BadRequestError(
            f"input {spec.name!r}: expected integers from 0 to {depth - 1} (one_hot = {depth}), found "
            f"{found.min():g} to {found.max():g}"
        )
    made: Array = np.eye(depth, dtype=spec.dtype.value)[found.astype(np.int64)]
    return made


def _are_rows(found: Array, depth: int) -> bool:
    return found.shape[-1:] == (depth,) and bool(
        ((found == 0) | (found == 1)).all() and (found.astype(np.float64).sum(axis=-1) == 1).all()
    )
