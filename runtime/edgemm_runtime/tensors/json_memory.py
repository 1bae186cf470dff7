"""The memory that reading and writing JSON and CSV takes: upper bounds, as CPython, msgspec and NumPy make it. Pure.

A number of Python has 24 to 32 bytes and its place in a list 8; the array, the checks and the copies on the way are
counted in. A list has 56 bytes and its items, an object mostly 232. Text has up to 4 bytes a character. A cell of CSV
is a string, mostly of 52 bytes, and then a number.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgemm.bundle.manifest import DType
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.tensors.element_types import OBJECT, size_of
from edgemm_runtime.tensors.named_arrays import Array

_SMALL_BYTES = 16 * 1024
_FEW = 512
_BLOCK_BYTES = 256 * 1024
_VALUE_BYTES, _LIST_BYTES, _OBJECT_BYTES = 64, 80, 240
_CELL_BYTES, _LINE_BYTES, _READ_CHARACTER_BYTES = 96, 272, 7
_BEYOND_ASCII = 0x80
_WRITTEN_VALUE_BYTES, _WRITTEN_INT8_BYTES = 112, 24
"""Of a value that is written: its place in a list, the number, and its text while that is gathered."""


def hold_parsed(text: bytes) -> None:
    """Hold what parsing JSON into lists and then into arrays takes at most; raises as `hold`."""
    if len(text) > _SMALL_BYTES:
        hold(_parsed_bytes(text))


def hold_csv(text: bytes, *, blanks: bool = False) -> None:
    """Hold what reading CSV into cells, values and arrays takes at most; raises as `hold`.

    Cells are separated by one of commas, semicolons and tabs, and by `blanks` too where the table may have these.
    """
    if len(text) <= _SMALL_BYTES:
        return
    cells = max(text.count(mark) for mark in (b",", b";", b"\t"))
    if blanks:
        cells = max(cells, _count_blanks(text))
    lines = text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n") + 1
    each = _READ_CHARACTER_BYTES + (0 if text.isascii() else 3)
    hold((cells + lines) * _CELL_BYTES + lines * _LINE_BYTES + each * len(text))


def _count_blanks(text: bytes) -> int:
    """Return how many blanks a text has at most; outside of ASCII there are some too."""
    codes = np.frombuffer(text, np.uint8)
    blocks = (codes[start : start + _BLOCK_BYTES] for start in range(0, len(codes), _BLOCK_BYTES))
    return sum(int(np.count_nonzero((block <= ord(" ")) & (block > 0) | (block >= _BEYOND_ASCII))) for block in blocks)


def hold_numbers(count: int, text: bytes) -> None:
    """Hold what parsing `count` numbers in one list takes at most; raises as `hold`."""
    if len(text) > _SMALL_BYTES:
        hold(count * _VALUE_BYTES + 2 * len(text))


def hold_in_pieces(count: int, dtype: DType, text: bytes) -> None:
    """Hold what parsing `count` numbers of an input in pieces takes at most; raises as `hold`."""
    hold(count * np.dtype(dtype.value).itemsize + 4 * len(text))


def hold_written(arrays: Iterable[Array]) -> None:
    """Hold what writing arrays as JSON takes at most; raises as `hold`."""
    for array in arrays:
        if array.dtype is OBJECT:
            hold(size_of(array))
        elif array.size > _FEW:
            hold(array.size * (_WRITTEN_INT8_BYTES if array.itemsize == 1 else _WRITTEN_VALUE_BYTES))


def _parsed_bytes(text: bytes) -> int:
    codes = np.frombuffer(text, np.uint8)
    values = lists = objects = 0
    for start in range(0, len(codes), _BLOCK_BYTES):
        block = codes[start : start + _BLOCK_BYTES]
        values += int(np.count_nonzero(block == ord(","))) + int(np.count_nonzero(block == ord("\n")))
        lists += int(np.count_nonzero(block == ord("[")))
        objects += int(np.count_nonzero(block == ord("{")))
    # One character beyond ASCII, or one that is escaped, makes all of a text wide.
    characters = len(text) * (1 if text.isascii() and b"\\u" not in text else 4)
    return (values + 2) * _VALUE_BYTES + lists * _LIST_BYTES + objects * _OBJECT_BYTES + characters
