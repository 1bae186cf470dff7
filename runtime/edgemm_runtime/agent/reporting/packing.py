"""Bytes that values take in msgpack, counted without writing them. Pure.

Sizes by the msgpack specification, for what telemetry is made of; a Struct is a map of the fields that msgspec writes.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from msgspec import UNSET, Struct
from msgspec.structs import FieldInfo, fields


def packed_bytes(value: object) -> int:
    """Return how many bytes msgspec writes for a value: of None, a number, text, bytes, or a list or Struct of such."""
    match value:
        case Struct():
            found = _written(value)
            size = list_bytes(found) + sum(_text_bytes(len(name)) + packed_bytes(one) for name, one in found.items())
        case tuple():
            size = list_bytes(value) + sum(map(packed_bytes, value))
        case str():
            size = _text_bytes(len(value.encode()))
        case bytes():
            size = _head_bytes(len(value), (2**8, 2), (2**16, 3)) + len(value)
        case float():
            size = 9
        case int() if not isinstance(value, bool):
            size = _integer_bytes(value)
        case _:
            assert value is None or isinstance(value, bool), f"telemetry is not made of {type(value).__name__}"
            size = 1
    return size


def list_bytes(items: Collection[object]) -> int:
    """Return what a list of so many items takes besides them; a map of so many fields takes the same."""
    return _head_bytes(len(items), (2**4, 1), (2**16, 3))


def _integer_bytes(value: int) -> int:
    if value < 0:
        return next((n for least, n in ((-32, 1), (-(2**7), 2), (-(2**15), 3), (-(2**31), 5)) if value >= least), 9)
    return _head_bytes(value, (2**7, 1), (2**8, 2), (2**16, 3), (2**32, 5), longest=9)


def _text_bytes(length: int) -> int:
    return _head_bytes(length, (2**5, 1), (2**8, 2), (2**16, 3)) + length


def _head_bytes(number: int, *steps: tuple[int, int], longest: int = 5) -> int:
    return next((size for below, size in steps if number < below), longest)


@cache
def _fields(kind: type[Struct]) -> tuple[FieldInfo, ...]:
    return fields(kind)


def _written(value: Struct) -> dict[str, object]:
    omit = value.__struct_config__.omit_defaults
    given = ((field, getattr(value, field.name)) for field in _fields(type(value)))
    return {
        field.encode_name: found
        for field, found in given
        if found is not UNSET and not (omit and found is field.default)
    }
