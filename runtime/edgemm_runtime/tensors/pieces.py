"""Long work on text and arrays in pieces, between which other threads have their turn. Pure, but for the rests.

    text = json_of(array)                     # as msgspec.json.encode(array.tolist())

The interpreter's lock is held by one call of a library from its start to its end. A thread that makes ten megabytes of
JSON in one call stops all others for a fifth of a second. A rest is long enough for a thread that waits to wake up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
import numpy as np

from edgemm.errors import TooLargeError
from edgemm_runtime.tensors.named_arrays import Array

Encode: TypeAlias = Callable[[Any], bytes]
PIECE_BYTES = 128 * 1024
"""Text of so many bytes is read in less than a millisecond."""
MOST_WHOLE = 4096
"""So many numbers are written in less than a millisecond."""
_MOST_WHOLE_BYTES, _MOST_WHOLE_VALUES = 1024 * 1024, 64 * 1024
_MOST_TEXT_BYTES, _MOST_JSON_BYTES = 8 * 1024 * 1024, 16 * 1024 * 1024
_SCANNED_BYTES = 1024 * 1024
_REST_S = 20e-6


def rest() -> None:
    """Let another thread have its turn."""
    time.sleep(_REST_S)


def without(data: bytes, table: None, deleted: bytes) -> bytes:
    """Return bytes without some of them: `data.translate(table, deleted)`."""
    if len(data) <= _SCANNED_BYTES:
        return data.translate(table, deleted)
    found = []
    for start in range(0, len(data), _SCANNED_BYTES):
        found.append(data[start : start + _SCANNED_BYTES].translate(table, deleted))
        rest()
    return b"".join(found)


def blocks(data: bytes) -> Iterator[bytes]:
    """Yield bytes in blocks of a length that is divisible by 4, but for the last one."""
    for start in range(0, len(data), PIECE_BYTES):
        if start:
            rest()
        yield data[start : start + PIECE_BYTES]


def pieces_at(data: bytes, separator: bytes) -> Iterator[bytes]:
    """Yield bytes in pieces that end before a separator, which is left out; one without any is a piece of its own."""
    start = 0
    while len(data) - start > PIECE_BYTES and (end := data.rfind(separator, start, start + PIECE_BYTES)) >= 0:
        yield data[start:end]
        rest()
        start = end + len(separator)
    yield data[start:]


def json_of(array: Array, encode: Encode = msgspec.json.encode) -> bytes:
    """Return an array as JSON, nested lists as its shape says."""
    if array.size <= MOST_WHOLE or not array.ndim:
        return encode(array.tolist())
    return b"".join(_pieces_of(array, encode))


def listed(array: Array, encode: Encode = msgspec.json.encode) -> list[Any] | msgspec.Raw:
    """Return an array as nested lists where it is small, else as JSON, to be part of a message either way."""
    return msgspec.Raw(json_of(array, encode)) if array.size > MOST_WHOLE else array.tolist()


def joined(items: Iterator[list[Any]], encode: Encode = msgspec.json.encode) -> bytes:
    """Return the JSON of one list of all items, which come in lists of some, none of them empty."""
    found = []
    for some in items:
        found.append(encode(some).strip()[1:-1])
        rest()
    return b"[" + b",".join(found) + b"]"


def check_whole(text: bytes, what: str) -> None:
    """Refuse JSON that is not read in pieces, and takes long in one; `what` is what is refused.

    A megabyte of numbers holds up all other threads for some ten milliseconds, eight of a single text for as long.

    Raises:
        TooLargeError: it is that.
    """
    if len(text) <= _MOST_WHOLE_BYTES:
        return
    if len(text) > _MOST_TEXT_BYTES or _values(text) > _MOST_WHOLE_VALUES:
        raise TooLargeError(
            f"{what}: {len(text):,} bytes of JSON; more than {_MOST_WHOLE_BYTES:,} are taken of numbers in lists of "
            f"the input's shape, and {_MOST_TEXT_BYTES:,} of an image: send those, binary tensors (Open Inference "
            "Protocol v2), or smaller batches"
        )


def check_length(size: int) -> None:
    """Refuse JSON that is too long even for a look at where its values are, which is one call.

    Raises:
        TooLargeError: it is that.
    """
    if size > _MOST_JSON_BYTES:
        raise TooLargeError(
            f"the request has {size:,} bytes of JSON, expected at most {_MOST_JSON_BYTES:,}: send binary tensors (Open "
            "Inference Protocol v2), or smaller batches"
        )


def _values(text: bytes) -> int:
    """Return about how many values JSON has, at least as many as there may be where there are too many."""
    count = 0
    for start in range(0, len(text), _SCANNED_BYTES):
        count += sum(text.count(mark, start, start + _SCANNED_BYTES) for mark in (b",", b"[", b":"))
        if count > _MOST_WHOLE_VALUES:
            break
        rest()
    return count


def shape_of(structure: bytes) -> tuple[int, ...]:
    """Return the shape that the first parts of nested lists have, by their brackets and commas alone.

    It is theirs where all other parts are the same.
    """
    depth = len(structure) - len(structure.lstrip(b"["))
    shape: list[int] = []
    before = 1
    for level in range(1, depth + 1):
        end = structure.find(b"]" * level)
        if end < 0:
            return ()
        count = structure.count(b",", 0, end) + 1
        shape.insert(0, count // before)
        before = count
    return tuple(shape)


def _pieces_of(array: Array, encode: Encode) -> Iterator[bytes]:
    """Yield the JSON of an array in pieces, each of at most `MOST_WHOLE` numbers."""
    yield b"["
    inner = int(np.prod(array.shape[1:], dtype=np.int64))
    step = max(1, MOST_WHOLE // max(1, inner))
    for start in range(0, len(array), step):
        if start:
            yield b","
        if inner > MOST_WHOLE and array.ndim > 1:
            yield from _pieces_of(array[start], encode)
        else:
            yield encode(array[start : start + step].tolist())[1:-1]
            rest()
    yield b"]"
