"""The reader of single fields of a flatbuffer that nobody vouches for (flatbuffers.dev, "Internals").

    root = Table.root(data)
    graphs = root.tables(2)              # a vector of tables
    name = graphs[0].text(0)

Every offset is checked against the bytes, every vector against a limit, and nothing is followed but what is asked for:
a damaged file ends in `MetadataError`, never in more work than its size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import TypeAlias

Content: TypeAlias = bytes | mmap
"""A file's bytes, of which only what is looked at need be in memory."""

MOST_ITEMS = 100_000
"""Items of a vector; the tensors of a large model's graph are some thousands."""

_MOST_TEXT_BYTES = 1 << 20


class MetadataError(Exception):
    """The metadata of a file are damaged, or larger than any that are honest."""


@dataclass(frozen=True)
class Table:
    """A table of a flatbuffer, at a place in its bytes; fields go by their numbers in the schema."""

    data: Content
    place: int

    @classmethod
    def root(cls, data: Content) -> Table:
        """Return the root table.

        Raises:
            MetadataError: there is none.
        """
        return cls(data, _number(data, 0, "<I"))

    def integer(self, field: int, form: str = "<i", *, otherwise: int = 0) -> int:
        """Return a number in the `struct` form of its type."""
        place = self._field(field)
        return otherwise if place is None else int(_number(self.data, place, form))

    def table(self, field: int) -> Table | None:
        """Return the table that a field points to."""
        place = self._target(field)
        return None if place is None else Table(self.data, place)

    def text(self, field: int) -> str:
        """Return a string; "" where there is none."""
        return self.content(field, most=_MOST_TEXT_BYTES).decode("utf-8", "replace")

    def content(self, field: int, *, most: int) -> bytes:
        """Return a vector of bytes; empty where there is none."""
        place = self._target(field)
        if place is None:
            return b""
        return self._run(place, 1, most=most)

    def numbers(self, field: int, form: str) -> tuple[float, ...]:
        """Return a vector of numbers in the `struct` form of their type."""
        place = self._target(field)
        if place is None:
            return ()
        size = struct.calcsize(form)
        return tuple(number for (number,) in struct.iter_unpack(form, self._run(place, size, most=MOST_ITEMS * size)))

    def tables(self, field: int) -> list[Table]:
        """Return a vector of tables."""
        place = self._target(field)
        offsets = self.numbers(field, "<I")
        return [] if place is None else [Table(self.data, place + 4 + 4 * i + int(o)) for i, o in enumerate(offsets)]

    def _run(self, place: int, size: int, *, most: int) -> bytes:
        length = _number(self.data, place, "<I") * size
        if length > most or place + 4 + length > len(self.data):
            raise MetadataError(f"a vector of {length:,} bytes")
        return self.data[place + 4 : place + 4 + length]

    def _target(self, field: int) -> int | None:
        place = self._field(field)
        return None if place is None else place + _number(self.data, place, "<I")

    def _field(self, field: int) -> int | None:
        """Return where a field's own bytes are, by the table's list of offsets; None where it has its default."""
        offsets = self.place - _number(self.data, self.place, "<i")
        if 4 + 2 * field >= _number(self.data, offsets, "<H"):
            return None
        found = _number(self.data, offsets + 4 + 2 * field, "<H")
        return self.place + found if found else None


def _number(data: Content, place: int, form: str) -> int:
    if not 0 <= place <= len(data) - struct.calcsize(form):
        raise MetadataError("an offset that leads out of the file")
    return int(struct.unpack_from(form, data, place)[0])
