"""Strings as elements of type BYTES behind the JSON: four bytes of length, little-endian, and so many of UTF-8. Pure.

Source: the binary tensor extension of the Open Inference Protocol v2, "the length of the byte-string element".
"""

from __future__ import annotations

import math
import struct

import numpy as np

from edgemm.errors import BadRequestError
from edgemm_runtime.http import hurry
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.tensors import strings
from edgemm_runtime.tensors.element_types import OBJECT, SOME
from edgemm_runtime.tensors.named_arrays import Array

_LENGTH = struct.Struct("<I")
LEAST_BYTES = _LENGTH.size
"""What an empty string takes."""
_FEW = 8192
"""So many are read in some two milliseconds."""
_STRING_BYTES, _BYTES_A_BYTE = 120, 6
"""What a string takes beside its characters, and a byte of it, at most: Python's, the engine's, and on the way."""


def read(data: bytes, name: str, *, shape: tuple[int, ...]) -> Array:
    """Return the strings of a tensor.

    Raises:
        BadRequestError: one is cut short or no UTF-8, or there are more or fewer than the shape says.
        TooLargeError: there is no room for them.
        TakesLongError: there are many, and this thread is in a hurry.
    """
    count, size = math.prod(shape), len(data)
    if count * LEAST_BYTES > size:
        raise BadRequestError(
            f"input {name!r}: expected {count:,} elements of type BYTES, found {size:,} bytes, which hold fewer"
        )
    if count > _FEW and hurry.here.hurried:
        raise hurry.TakesLongError("there are many strings: try again later")
    hold(count * _STRING_BYTES + size * _BYTES_A_BYTE)
    found, position = [], 0
    length_at = _LENGTH.unpack_from
    for index in range(count):
        start = position + LEAST_BYTES
        if start > size or (position := start + length_at(data, position)[0]) > size:
            raise BadRequestError(
                f"input {name!r}, element {index} (from 0): expected its length in four bytes and so many bytes, found "
                "one that is cut short"
            )
        try:
            found.append(str(data[start:position], "utf-8"))
        except UnicodeDecodeError as err:
            raise BadRequestError(
                f"input {name!r}, element {index} (from 0): expected text of UTF-8, found bytes that are none"
            ) from err
    if position != size:
        raise BadRequestError(f"input {name!r}: expected {count:,} elements, found {size - position:,} bytes behind")
    strings.check(found, name)
    array: Array = np.empty(count, OBJECT)
    for first in range(0, count, SOME):
        array[first : first + SOME] = found[first : first + SOME]
    return array.reshape(shape)


def packed(array: Array) -> bytes:
    """Return the elements of a tensor of strings, row by row."""
    flat = array.ravel()
    return b"".join([_packed(flat[start : start + SOME].tolist()) for start in range(0, len(flat), SOME)])


def _packed(texts: list[str]) -> bytes:
    parts: list[bytes] = []
    for text in texts:
        data = text.encode()
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)
