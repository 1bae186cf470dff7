"""NumPy's `.npy` files (format 1.0) as blobs: read without pickle, and never larger than their bytes."""

from __future__ import annotations

import io
import math

import numpy as np

from edgemm.errors import BundleError
from edgemm_runtime.tensors.named_arrays import Array


def read_npy(data: bytes, *, name: str) -> Array:
    """Return the array in `data`; `name` says in errors whose it is.

    Raises:
        BundleError: not a `.npy` file, of Python objects, or with another number of bytes than its shape needs.
    """
    file = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise BundleError(f"{name}: expected a .npy array of format 1.0, found a later one")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, TypeError, SyntaxError, EOFError) as err:
        raise BundleError(f"{name}: not a .npy array: {err}") from err
    if dtype.hasobject:
        raise BundleError(f"{name}: expected an array of numbers, found one of Python objects")
    expected, found = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if min(shape, default=0) < 0 or expected != found:
        raise BundleError(f"{name}: shape {list(shape)} of {dtype} needs {expected:,} bytes, found {found:,}")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def write_npy(array: Array) -> bytes:
    """Return `array` as a `.npy` file of format 1.0."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()
