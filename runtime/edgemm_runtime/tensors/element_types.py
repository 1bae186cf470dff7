"""The element types of a signature as NumPy's: strings are Python's, in arrays of objects. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgemm.bundle.manifest import DType
from edgemm_runtime.tensors.named_arrays import Array

OBJECT: np.dtype[Any] = np.dtype(object)
"""The dtype of arrays of strings; there is one such object, so that `is` tells them."""
_NUMPY: Mapping[DType, np.dtype[Any]] = {one: OBJECT if one is DType.STRING else np.dtype(one.value) for one in DType}
SOME = 16_384
"""So many strings are looked at in one call, between which other threads have their turn: about a millisecond."""
_LAST_CHARACTER = 0x10FFFF
_STRING_BYTES, _BYTES_A_CHARACTER = 96, 5
"""What a string takes beside its characters, and a character, at most: Python's and the engine's."""


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """Return what arrays of a tensor have for their dtype, of one that is known."""
    return _NUMPY[dtype]


def dtype_of(array: Array) -> DType:
    """Return what a signature calls the dtype of an array that a tensor has."""
    return DType.STRING if array.dtype is OBJECT else DType(array.dtype.name)


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return zeros, or empty strings."""
    return np.full(shape, "", OBJECT) if dtype is OBJECT else np.zeros(shape, dtype)


def size_of(array: Array) -> int:
    """Return the bytes that a tensor takes, at most; strings are counted one by one, with the engine's copy."""
    if array.dtype is not OBJECT:
        return array.nbytes
    flat, characters = array.ravel(), 0
    for start in range(0, len(flat), SOME):
        characters += sum(map(len, flat[start : start + SOME].tolist()))
    return array.size * _STRING_BYTES + _BYTES_A_CHARACTER * characters


def most_size_of(text: Array) -> int:
    """Return the bytes that NumPy's text of fixed width takes as a tensor of strings, at most."""
    return text.size * _STRING_BYTES + _BYTES_A_CHARACTER * (text.nbytes // 4)


def from_text(array: Array) -> Array:
    """Return NumPy's text of fixed width as objects.

    Raises:
        ValueError: a number in it is no character, which NumPy ends in other ways.
    """
    codes = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
    if array.size and array.itemsize and np.ascontiguousarray(array).view(codes).max() > _LAST_CHARACTER:
        raise ValueError("a number beyond the last character of Unicode")
    return array.astype(OBJECT)
