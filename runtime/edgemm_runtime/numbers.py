"""Numbers in JSON and in Python lists as an array of a known dtype. Pure; nothing wraps or saturates silently."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import msgspec
import numpy as np

from edgemm.errors import BadRequestError
from edgemm.manifest import TensorSpec
from edgemm_runtime.engines.model import Array

_KINDS = {"b": bool, "i": int, "u": int, "f": float}
_TAKES = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_MAX_RANK = 8


def read_numbers(raw: bytes, spec: TensorSpec, *, shape: tuple[int, ...]) -> Array:
    """Return JSON `raw` as an array of `spec`'s dtype and of `shape`; it may be flat, or nested as `shape` says.

    Raises:
        BadRequestError: not numbers of that kind, too many or few, ragged, or out of the dtype's range.
    """
    depth = _depth(raw)
    if depth not in {1, len(shape)}:
        raise BadRequestError(f"input {spec.name!r}: expected flat data or {len(shape)} levels, found {depth} levels")
    values = to_array(decode_nested(raw, spec, depth=depth), spec)
    if values.size != math.prod(shape) or (depth > 1 and values.shape != shape):
        expected = f"{math.prod(shape):,} values" if depth == 1 else f"shape {list(shape)}"
        found = f"{values.size:,}" if depth == 1 else str(list(values.shape))
        raise BadRequestError(f"input {spec.name!r}: expected {expected}, found {found}")
    return values.reshape(shape)


def decode_nested(raw: bytes, spec: TensorSpec, *, depth: int) -> Any:
    """Return JSON lists, `depth` levels deep, of values of `spec`'s kind.

    Raises:
        BadRequestError: not JSON, another depth, or another kind of value.
    """
    kind = _KINDS[np.dtype(spec.dtype.value).kind]
    try:
        return msgspec.json.decode(raw, type=_nested(kind, min(depth, _MAX_RANK)))
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype} values: {err}") from err


def to_array(values: Any, spec: TensorSpec) -> Array:
    """Return nested lists of numbers, or what else NumPy takes, as an array of `spec`'s dtype.

    Raises:
        BadRequestError: ragged, of another kind, or out of the dtype's range.
    """
    dtype = np.dtype(spec.dtype.value)
    try:
        array = np.asarray(values)
        if dtype == np.uint64 and array.dtype.kind in "fO":
            array = _unsigned(values, otherwise=array)
    except (ValueError, TypeError, OverflowError) as err:
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype} values of one shape: {err}") from err
    if array.dtype.kind not in _TAKES[dtype.kind] and array.size:
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype} values, found {array.dtype}")
    return _narrow(array, dtype, name=spec.name)


def _unsigned(values: Any, *, otherwise: Array) -> Array:
    """Return integers as uint64: from 2**63 on, NumPy makes floats of them where smaller ones stand beside.

    Raises:
        OverflowError: one is negative or beyond uint64.
    """
    exact: Array = np.asarray(values, dtype=object)
    return np.asarray(values, dtype=np.uint64) if all(type(value) is int for value in exact.flat) else otherwise


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
def _nested(kind: type, depth: int) -> Any:
    for _ in range(depth):
        kind = list[kind]  # type: ignore[valid-type]
    return kind
