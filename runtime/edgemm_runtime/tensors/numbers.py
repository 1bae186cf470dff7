"""The reader of values in JSON and Python lists into arrays of a known dtype. Pure.

Nothing wraps or saturates silently. Strings are read by `strings`; null is NaN where a model takes missing values.
"""

from __future__ import annotations

import math
import numbers
import struct
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.tensors import pieces, strings
from edgemm_runtime.tensors.inputs import fits
from edgemm_runtime.tensors.json_memory import hold_in_pieces, hold_numbers, hold_parsed
from edgemm_runtime.tensors.named_arrays import Array

_KINDS: Mapping[str, Any] = {"b": bool, "i": int, "u": int, "f": float}
_FLOAT_OR_NULL: Any = float | None
_TAKES = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_FOUND = {"b": "true and false", "f": "fractions", "O": "numbers beyond 64 bits", "U": "texts", "S": "texts"}
_LONGEST_TOLD = 40
_BEYOND = 2.0**63
_MAX_RANK = 8
_CODES: Mapping[DType, str] = {
    DType.BOOL: "?", DType.INT8: "b", DType.INT16: "h", DType.INT32: "i", DType.INT64: "q",
    DType.UINT8: "B", DType.UINT16: "H", DType.UINT32: "I", DType.UINT64: "Q",
    DType.FLOAT16: "e", DType.FLOAT32: "f", DType.FLOAT64: "d",
}  # fmt: skip
_NARROW_INTEGERS = {DType.INT8, DType.INT16, DType.INT32, DType.UINT8, DType.UINT16, DType.UINT32}
_IN_INTEGERS = b"-0123456789, \t\r\n"
_MOST_CANONICAL_BYTES = 1024 * 1024
_MOST_REMEMBERED = 200_000
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[],"))


def read_numbers(raw: bytes, spec: TensorSpec, *, shape: tuple[int, ...]) -> Array:
    """Return JSON `raw`, known to be valid, as an array of `spec`'s dtype and of `shape`; flat, or nested as that says.

    Raises:
        BadRequestError: not numbers of that kind, too many or few, ragged, or out of the dtype's range.
        TooLargeError: the same, of a megabyte or more.
    """
    depth = _depth(raw)
    if depth == 0:
        found = raw[:_LONGEST_TOLD].decode("utf-8", "replace")
        raise BadRequestError(f"input {spec.name!r}: expected data as a list of {spec.dtype} values, found {found}")
    if depth not in {1, len(shape)}:
        raise BadRequestError(f"input {spec.name!r}: expected flat data or {len(shape)} levels, found {depth} levels")
    if spec.dtype is DType.STRING:
        return strings.read_json(raw, spec, shape=shape, depth=depth)
    quick = _read_flat(raw, spec, shape=shape, depth=depth)
    if quick is not None:
        return quick
    pieces.check_whole(raw, f"input {spec.name!r}")
    values = to_array(decode_nested(raw, spec, depth=depth), spec)
    if values.size != math.prod(shape) or (depth > 1 and values.shape != shape):
        expected = f"{math.prod(shape):,} values" if depth == 1 else f"shape {list(shape)}"
        found = f"{values.size:,}" if depth == 1 else str(list(values.shape))
        raise BadRequestError(f"input {spec.name!r}: expected {expected}, found {found}")
    return values.reshape(shape)


def read_nested(raw: bytes, spec: TensorSpec, *, batched: bool = False) -> Array | None:
    """Return nested JSON `raw`, known to be valid, as `spec` takes it, a single sample as one unless it is `batched`.

    None where it is not quickly told that it is that: its lists are then to be looked at one by one.
    """
    depth, rest = _depth(raw), spec.shape[1:]
    if depth == 1 and rest == (1,):
        found = read_nested(raw, _column(spec), batched=batched)
        return None if found is None else found.reshape(-1, 1)
    if not spec.shape or depth not in {len(spec.shape), len(rest)} or depth == 0 or (batched and depth == len(rest)):
        return None
    if spec.dtype is DType.STRING:
        return _strings(raw, spec, depth=depth)
    if -1 in rest:
        sizes = pieces.shape_of(pieces.without(raw, None, _NOT_STRUCTURE))
        if len(sizes) != depth or any(n not in {m, -1} for n, m in zip(reversed(rest), reversed(sizes), strict=False)):
            return None
        rest = sizes[depth - len(rest) :]
    rows, left = divmod(raw.count(b",") + 1, math.prod(rest) or 1)
    if left or spec.shape[0] not in {-1, rows} or (depth == len(rest) and rows != 1):
        return None
    shape = rest if depth == len(rest) else (rows, *rest)
    found = _read_flat(raw, spec, shape=shape, depth=depth)
    return None if found is None else found.reshape(rows, *rest)


@cache
def _column(spec: TensorSpec) -> TensorSpec:
    """Return a tensor of one value a row as one without a second axis."""
    return replace(spec, shape=spec.shape[:1])


def _strings(raw: bytes, spec: TensorSpec, *, depth: int) -> Array | None:
    array = strings.read_nested(raw, spec, depth=depth)
    if array is None:
        return None
    found = array[None] if depth < len(spec.shape) else array
    return found if fits(spec.shape, found.shape) else None


def _read_flat(raw: bytes, spec: TensorSpec, *, shape: tuple[int, ...], depth: int) -> Array | None:
    """Do what `read_numbers` does by way of one flat list; None for what is not right, or not told so quickly.

    Where brackets and commas stand as the shape says, the brackets can be cut out of valid JSON: a bracket in a text
    leaves a text behind, which is no number. `struct` refuses what its type does not hold.
    """
    count, large = math.prod(shape), len(raw) > pieces.PIECE_BYTES
    cut = pieces.without if large else bytes.translate
    if not 0 < count <= len(raw) or (depth > 1 and cut(raw, None, _NOT_STRUCTURE) != _structure_of(shape)):
        return None
    if large:
        hold_in_pieces(count, spec.dtype, raw)
        return _read_in_pieces(cut(raw, None, b"[]") if depth > 1 else raw[1:-1], spec, shape=shape)
    hold_numbers(count, raw)
    inner = raw.translate(None, b"[]") if depth > 1 else raw[1:-1]
    if spec.dtype in _NARROW_INTEGERS and not inner.translate(None, _IN_INTEGERS):
        return _read_integers(inner, spec.dtype, shape=shape)
    return _read_list(raw if depth == 1 else b"[" + inner + b"]", spec, shape=shape)


def _read_list(flat: bytes, spec: TensorSpec, *, shape: tuple[int, ...]) -> Array | None:
    found = np.dtype(spec.dtype.value)
    try:
        if spec.missing:
            values = [math.nan if one is None else one for one in _decoder(_FLOAT_OR_NULL).decode(flat)]
        else:
            values = _decoder(_KINDS[found.kind]).decode(flat)
        packed = struct.pack(f"={len(values)}{_CODES[spec.dtype]}", *values)
    except (msgspec.DecodeError, UnicodeDecodeError, struct.error, OverflowError):
        return None
    return np.frombuffer(packed, found).reshape(shape) if len(values) == math.prod(shape) else None


def _read_in_pieces(inner: bytes, spec: TensorSpec, *, shape: tuple[int, ...]) -> Array | None:
    """Return many values with commas between; None as `_read_flat`."""
    dtype = spec.dtype
    found, done = np.empty(math.prod(shape), dtype.value), 0
    for piece in pieces.pieces_at(inner, b","):
        count = (piece.count(b",") + 1,)
        if dtype in _NARROW_INTEGERS and not piece.translate(None, _IN_INTEGERS):
            values = _read_integers(piece, dtype, shape=count)
        else:
            values = _read_list(b"[" + piece + b"]", spec, shape=count)
        if values is None or done + len(values) > len(found):
            return None
        found[done : done + len(values)] = values
        done += len(values)
    return found.reshape(shape) if done == len(found) else None


def _read_integers(inner: bytes, dtype: DType, *, shape: tuple[int, ...]) -> Array | None:
    """Return integers with commas between; beyond 64 bits NumPy saturates them, which is out of range all the same."""
    values: Array = np.fromstring(inner, np.int64, sep=",")
    bounds = np.iinfo(dtype.value)
    if len(values) != math.prod(shape) or values.min() < bounds.min or values.max() > bounds.max:
        return None
    return values.astype(dtype.value).reshape(shape)


def read_canonical(inner: bytes, dtype: DType, *, shape: tuple[int, ...]) -> Array | None:
    """Return integers of 8 bits as they stand between the brackets of a JSON list that nobody has looked at before.

    None for more than a megabyte, and for whatever is not that many integers in range with `,` or `, ` between them,
    each written in the one way that has no needless sign or zero. NumPy reads more than that, and wraps at 16 bits; but
    whatever else it takes for such a number is longer than that, or a sign alone.
    """
    if len(inner) > _MOST_CANONICAL_BYTES:
        return None
    written = inner.replace(b", ", b",") if b" " in inner else inner
    try:
        values: Array = np.fromstring(written, np.int16, sep=",")
    except (ValueError, DeprecationWarning):  # the latter until NumPy makes it the former, where warnings are errors
        return None
    narrow: Array = values.astype(dtype.value)
    characters = int(_lengths(dtype).take(narrow.view(np.uint8)).sum(dtype=np.int64)) + len(values) - 1
    if len(values) != math.prod(shape) or len(written) != characters or not np.array_equal(values, narrow):
        return None
    signs = written.translate(None, b"0123456789,")
    return narrow.reshape(shape) if signs == b"-" * np.count_nonzero(narrow < 0) else None


@cache
def _lengths(dtype: DType) -> Array:
    """Return how many characters each value of 8 bits takes, by its bits."""
    return np.array([len(str(value)) for value in np.arange(256, dtype=np.uint8).view(dtype.value)], np.uint8)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_nested(kind, 1))


def _structure_of(shape: tuple[int, ...]) -> bytes:
    """Return how brackets and commas stand in lists of a shape; the small ones are remembered."""
    return _remembered_structure(shape) if math.prod(shape) <= _MOST_REMEMBERED else _structure(shape)


@lru_cache(maxsize=16)
def _remembered_structure(shape: tuple[int, ...]) -> bytes:
    return _structure(shape)


def _structure(shape: tuple[int, ...]) -> bytes:
    inner = _structure(shape[1:]) if len(shape) > 1 else b""
    # Not `join`, which takes a hundred bytes of memory for each of the parts.
    return b"[" + (inner + b",") * (shape[0] - 1) + inner + b"]"


def decode_nested(raw: bytes, spec: TensorSpec, *, depth: int) -> Any:
    """Return JSON lists, `depth` levels deep, of values of `spec`'s kind.

    Raises:
        BadRequestError: not JSON, another depth, or another kind of value.
    """
    kind = _FLOAT_OR_NULL if spec.missing else _KINDS[np.dtype(spec.dtype.value).kind]
    hold_parsed(raw)
    try:
        return msgspec.json.decode(raw, type=_nested(kind, min(depth, _MAX_RANK)))
    except json_faults.FAULTS as err:
        told = json_faults.told(err, raw)
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype} values: {told}") from err


def to_array(values: Any, spec: TensorSpec) -> Array:
    """Return nested lists of numbers or strings, or what else NumPy takes, as an array of `spec`'s dtype.

    None is NaN where the model takes missing values.

    Raises:
        BadRequestError: ragged, of another kind, or out of the dtype's range.
    """
    if spec.dtype is DType.STRING:
        return strings.to_array(values, spec)
    dtype = np.dtype(spec.dtype.value)
    try:
        array = np.asarray(values)
        if dtype == np.uint64 and array.dtype.kind in "fO":
            array = _unsigned(values, otherwise=array)
        elif dtype.kind == "f" and array.dtype.kind == "O" and set(map(type, array.flat)) <= _floats(spec):
            # None is NaN; JavaScript spells 1e20 as an integer, which is one beyond 64 bits.
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as err:
        found = _uneven(values)
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype} values of one shape, found {found}") from err
    if array.dtype.kind not in _TAKES[dtype.kind] and array.size:
        beyond = array.dtype.kind == "f" and bool((np.abs(array) >= _BEYOND).any())  # of integers NumPy made floats
        usual = _FOUND["O"] if beyond else _FOUND.get(array.dtype.kind) or str(array.dtype)
        found = _strange(array) or usual
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype} values, found {found}")
    return _narrow(array, dtype, name=spec.name)


def _floats(spec: TensorSpec) -> set[type]:
    """Return the types of what becomes a float."""
    return {int, float, type(None)} if spec.missing else {int, float}


def _strange(array: Array) -> str | None:
    """Return the type of the first value that is no number at all, as of a file that was opened."""
    others = (one for one in array.flat if not isinstance(one, numbers.Number)) if array.dtype.kind == "O" else ()
    return next((f"a value of the type {type(one).__name__}" for one in others), None)


def _uneven(values: Any) -> str:
    """Return why nested lists are no array: the first lists beside each other that differ."""
    level, depth = [values], 1
    while any(isinstance(one, list) for one in level):
        lists = [one for one in level if isinstance(one, list)]
        if len(lists) < len(level):
            return f"lists beside single values at level {depth}"
        lengths = sorted({len(one) for one in lists})
        if len(lengths) > 1:
            return f"lists of {lengths[0]:,} and of {lengths[-1]:,} values beside each other at level {depth}"
        level, depth = [inner for one in lists for inner in one], depth + 1
    return "a number out of its range, or something else among them"


def _unsigned(values: Any, *, otherwise: Array) -> Array:
    """Return integers as uint64: from 2**63 on, NumPy makes floats of them where smaller ones stand beside.

    Raises:
        OverflowError: one is negative or beyond uint64.
    """
    exact: Array = np.asarray(values, dtype=object)
    if not all(type(value) is int for value in exact.flat):
        return otherwise
    beyond = [value for value in exact.flat if not 0 <= value < 2**64]  # which NumPy 1 wraps
    if beyond:
        raise OverflowError(f"{beyond[0]} is out of the range of uint64")
    return exact.astype(np.uint64)


def _narrow(array: Array, dtype: np.dtype[Any], *, name: str) -> Array:
    with np.errstate(over="ignore"):
        narrow: Array = array.astype(dtype)
    lost = np.isinf(narrow) & ~np.isinf(array) if dtype.kind == "f" else narrow != array
    if lost.any():
        raise BadRequestError(f"input {name!r}: {array[lost].flat[0]} is out of the range of {dtype}")
    return narrow


def _depth(raw: bytes) -> int:
    """Return how many brackets the data begin with."""
    brackets = raw[:4096].translate(None, b" \t\r\n")
    return len(brackets) - len(brackets.lstrip(b"["))


@cache
def _nested(kind: Any, depth: int) -> Any:
    for _ in range(depth):
        kind = list[kind]
    return kind
