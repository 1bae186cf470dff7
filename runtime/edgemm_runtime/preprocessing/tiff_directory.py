"""The first directory of a TIFF file: a bounded reader. Pure.

A directory is a list of tags, each with a number of values that lie anywhere in the file. Libraries copy the values of
each tag as they open a file, so that a thousand tags which all claim the same ten megabytes take ten gigabytes: what is
claimed is added up here, before a library sees the file.

Source: TIFF 6.0, section 2; BigTIFF as libtiff has it (magic 43, eight bytes for counts and places).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, SAMPLE_FORMAT = 258, 259, 262, 277, 284, 339
ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 278, 322, 323
_MOST_TAGS = 1024
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True)
class Directory:
    """The tags of one directory.

    `values` has the first value of each tag of unsigned integers; `claimed` is how many bytes all values take.
    """

    values: Mapping[int, int]
    claimed: int


def read(data: bytes) -> Directory:
    """Read the first directory.

    Raises:
        ValueError: there is none, it is cut short, or it has more than 1,024 tags.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no TIFF")
    try:
        [magic] = struct.unpack_from(f"{order}H", data, 2)
        wide = magic == 43
        [start] = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", data, 8 if wide else 4)
        [count] = struct.unpack_from(f"{order}{'Q' if wide else 'H'}", data, start)
        if count > _MOST_TAGS:
            raise ValueError(f"{count} tags")
        entry = struct.Struct(f"{order}HHQ8s" if wide else f"{order}HHI4s")
        first = start + (8 if wide else 2)
        entries = [entry.unpack_from(data, first + index * entry.size) for index in range(count)]
    except (struct.error, OverflowError) as err:
        raise ValueError("cut short") from err
    place = struct.Struct(f"{order}{'Q' if wide else 'I'}")
    values = {}
    for tag, kind, number, inline in entries:
        if kind in _INTEGERS and number:
            values[tag] = _first(data, inline, kind=kind, number=number, order=order, place=place)
    return Directory(values, sum(_SIZES.get(kind, 0) * number for _, kind, number, _ in entries))


def _first(data: bytes, inline: bytes, *, kind: int, number: int, order: str, place: struct.Struct) -> int:
    one = struct.Struct(f"{order}{_INTEGERS[kind]}")
    at = place.unpack(inline)[0] if number * one.size > len(inline) else None
    source = inline if at is None else data[at : at + one.size]
    return int(one.unpack_from(source)[0]) if len(source) >= one.size else 0
