"""Tensors of strings: read from lists and JSON, and checked. Pure.

* A string is any text of UTF-8, also an empty one, one with NUL characters, and one of up to 65,536 characters. Half a
  surrogate pair, which JSON can spell, is none.
* In memory a tensor of strings is a NumPy array of objects, each a `str`: so the engine takes and gives it.
* `null` is a text that is missing, where the model takes missing ones: `MISSING_TEXT` in the tensor.
* JSON of many strings is read in pieces. They end where a quote, of which an even number came before, stands before a
  comma; that is told where no quote is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from edgemm.bundle.manifest import MISSING_TEXT, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.tensors import pieces
from edgemm_runtime.tensors.element_types import OBJECT, SOME, from_text
from edgemm_runtime.tensors.json_memory import hold_parsed
from edgemm_runtime.tensors.named_arrays import Array

MOST_CHARACTERS = 65_536
"""The longest string."""
_ENGINE_BYTES = 40
"""What the engine's copy of a string takes beside its characters."""
_ESCAPED_QUOTE = b'\\"'


def to_array(values: Any, spec: TensorSpec) -> Array:
    """Return nested lists of strings, or an array of them, as a tensor of strings; None is one that is missing.

    Raises:
        BadRequestError: ragged, or one is no string.
    """
    try:
        array: Array = from_text(values) if _is_text(values) else np.asarray(values, dtype=OBJECT)
    except ValueError as err:  # of an array, one of whose numbers is no character
        raise BadRequestError(f"input {spec.name!r}: expected text of Unicode, found another array") from err
    array = _filled(array, spec)
    flat = array.ravel().tolist()
    if set(map(type, flat)) - {str}:
        if all(isinstance(one, str) for one in flat):  # some are NumPy's
            return to_array(np.array([str(one) for one in flat], OBJECT).reshape(array.shape), spec)
        index, found = next((i, one) for i, one in enumerate(flat) if not isinstance(one, str))
        if isinstance(found, list):
            raise BadRequestError(f"input {spec.name!r}: expected strings of one shape, found lists of several lengths")
        row = index // max(1, math.prod(array.shape[1:]))
        where = f", row {row} (from 0)" if array.ndim else ""
        raise BadRequestError(f"input {spec.name!r}{where}: expected a string, found {_told(found)}")
    check(flat, spec.name)
    return array


def check(values: Sequence[str], name: str, *, first: int = 0) -> None:
    """Refuse what is no text of UTF-8, and what is too long; so many values were `first`.

    Raises:
        BadRequestError: one is that; the message says in which place.
    """
    for start in range(0, len(values), SOME):
        some = values[start : start + SOME]
        if max(map(len, some)) > MOST_CHARACTERS:
            place, found = next((i, len(one)) for i, one in enumerate(some) if len(one) > MOST_CHARACTERS)
            raise BadRequestError(
                f"input {name!r}, string {first + start + place} (from 0): expected at most {MOST_CHARACTERS:,} "
                f"characters, found {found:,}"
            )
        if not all(map(str.isascii, some)):
            place = next((i for i, one in enumerate(some) if not _is_utf8(one)), -1)
            if place >= 0:
                raise BadRequestError(
                    f"input {name!r}, string {first + start + place} (from 0): expected text of UTF-8, found half a "
                    "surrogate pair"
                )


def read_json(raw: bytes, spec: TensorSpec, *, shape: tuple[int, ...], depth: int) -> Array:
    """Return JSON `raw`, known to be valid, as strings of `shape`; flat, or nested as that says.

    Raises:
        BadRequestError: not strings, or too many or few of them.
        TooLargeError: more than is read at once, and not in pieces.
    """
    array = _read(raw, spec, depth=depth)
    if array.size != math.prod(shape) or (depth > 1 and array.shape != shape):
        expected = f"{math.prod(shape):,} strings" if depth == 1 else f"shape {list(shape)}"
        found = f"{array.size:,}" if depth == 1 else str(list(array.shape))
        raise BadRequestError(f"input {spec.name!r}: expected {expected}, found {found}")
    return array.reshape(shape)


def read_nested(raw: bytes, spec: TensorSpec, *, depth: int) -> Array | None:
    """Return nested JSON as strings of whatever shape; None for what is not quickly told to be that."""
    try:
        return _read(raw, spec, depth=depth)
    except BadRequestError:
        return None  # it is told what is wrong where its values are looked at one by one


def _read(raw: bytes, spec: TensorSpec, *, depth: int) -> Array:
    large = len(raw) > pieces.PIECE_BYTES
    if large and (depth > 2 or _ESCAPED_QUOTE in raw):
        pieces.check_whole(raw, f"input {spec.name!r}")
        large = False
    hold_parsed(raw)
    hold(raw.count(b",") * _ENGINE_BYTES + len(raw))
    decode = _decoder(depth, missing=bool(spec.missing)).decode
    try:
        if not large:
            return _array(decode(raw), spec)
        parts, count = [], 0
        for piece in _pieces(raw.strip()[1:-1], b"," if depth == 1 else b"],", name=spec.name):
            parts.append(_array(decode(b"[" + piece + b"]"), spec, first=count))
            count += parts[-1].size
            pieces.rest()
        return np.concatenate(parts)
    except json_faults.FAULTS as err:
        raise BadRequestError(f"input {spec.name!r}: expected strings: {json_faults.told(err, raw)}") from err
    except ValueError as err:
        raise BadRequestError(f"input {spec.name!r}: expected strings of one shape, found several lengths") from err


def _array(values: list[Any], spec: TensorSpec, *, first: int = 0) -> Array:
    array = _filled(np.array(values, dtype=OBJECT), spec)
    flat = array.ravel().tolist()
    if set(map(type, flat)) - {str}:
        raise ValueError("ragged")
    check(flat, spec.name, first=first)
    return array


def _filled(array: Array, spec: TensorSpec) -> Array:
    """Return strings with `MISSING_TEXT` for None, where the model takes missing values."""
    if not spec.missing:
        return array
    lacking = np.array([one is None for one in array.ravel().tolist()], bool).reshape(array.shape)
    found: Array = np.where(lacking, MISSING_TEXT, array)
    return found


def _pieces(inner: bytes, separator: bytes, *, name: str) -> Iterator[bytes]:
    """Yield the items of a list in pieces; no quote in them is escaped.

    Raises:
        TooLargeError: an item is longer than a piece, and the rest is too long to be read at once.
    """
    start = 0
    while len(inner) - start > pieces.PIECE_BYTES:
        end = _end(inner, separator, start)
        if end < 0:
            pieces.check_whole(inner[start:], f"input {name!r}")
            break
        yield inner[start : end + len(separator) - 1]
        start = end + len(separator)
    yield inner[start:]


def _end(inner: bytes, separator: bytes, start: int) -> int:
    """Return where the last separator in a piece begins that is in no string; −1 where there is none."""
    stop = start + pieces.PIECE_BYTES
    quotes = inner.count(b'"', start, stop)
    while (end := inner.rfind(separator, start, stop)) >= 0:
        quotes -= inner.count(b'"', end, stop)
        if quotes % 2 == 0:
            return end
        stop = end
    return -1


def _is_text(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "U"


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(found: Any) -> str:
    if found is None or isinstance(found, bool | int | float | list | dict):
        return json_faults.spelled(found)
    return f"a value of the type {type(found).__name__}"


@cache
def _decoder(depth: int, *, missing: bool) -> msgspec.json.Decoder[Any]:
    kind: Any = str | None if missing else str
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)
