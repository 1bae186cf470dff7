"""The graph of a TFLite file: its operations and their tensors, without its weights. Pure.

The file is a flatbuffer, of which only the tables are read that are needed here: `flatbuffers` is not on devices.
Numbers of fields and operations are those of TensorFlow's `schema.fbs`.
"""

from __future__ import annotations

import struct

from edgemm_runtime.engines.lengths.value_lengths import Graph, GraphNode

_KINDS = {
    23: "RESIZE_BILINEAR", 34: "PAD", 37: "BATCH_TO_SPACE_ND", 38: "SPACE_TO_BATCH_ND", 60: "PADV2", 67:
    "TRANSPOSE_CONV", 68: "SPARSE_TO_DENSE", 69: "TILE", 77: "SHAPE", 85: "ONE_HOT", 94: "FILL", 96: "RANGE", 97:
    "RESIZE_NEAREST_NEIGHBOR", 100: "MIRROR_PAD", 110: "RANK", 118: "IF", 119: "WHILE", 120:
    "NON_MAX_SUPPRESSION_V4", 121: "NON_MAX_SUPPRESSION_V5", 122: "SCATTER_ND", 125: "SEGMENT_SUM", 130:
    "BROADCAST_TO", 131: "RFFT2D", 146: "RANDOM_STANDARD_NORMAL", 148: "RANDOM_UNIFORM", 149: "MULTINOMIAL", 153:
    "UNSORTED_SEGMENT_PROD", 154: "UNSORTED_SEGMENT_MAX", 155: "UNSORTED_SEGMENT_SUM", 157: "UNSORTED_SEGMENT_MIN",
}  # fmt: skip
_BODIES = {"IF", "WHILE"}
_DEEPEST = 16
_CODES, _GRAPHS = 1, 2
_OLD_CODE, _CODE = 0, 3
_INPUTS, _STEPS = 1, 3
_STEP_CODE, _STEP_INPUTS, _STEP_OUTPUTS, _STEP_OPTIONS = 0, 1, 2, 4


def read_graph(model: bytes) -> Graph:
    """Return the main graph; operations that no rule is about have no kind.

    Raises:
        ValueError: it is no TFLite file.
    """
    try:
        return _File(model).graph(0, 0)
    except (struct.error, IndexError) as err:
        raise ValueError("not a TFLite file") from err


class _File:
    """A flatbuffer; a table or vector is known by its position."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        root = self._at("<I", 0)
        codes = self._tables(root, _CODES)
        self._kinds = [
            _KINDS.get(max(self._number(one, _OLD_CODE, "<b"), self._number(one, _CODE, "<i")), "") for one in codes
        ]
        self._graphs = self._tables(root, _GRAPHS)

    def graph(self, number: int, depth: int) -> Graph:
        """Return a graph and those within it; tensors are known by graph and number."""
        if depth > _DEEPEST:
            raise ValueError("graphs within graphs without end")
        table = self._graphs[number]
        steps = tuple(self._step(one, number, depth) for one in self._tables(table, _STEPS))
        return Graph(self._names(table, _INPUTS, number), steps)

    def _step(self, table: int, number: int, depth: int) -> GraphNode:
        kind = self._kinds[self._number(table, _STEP_CODE, "<I")]
        bodies: tuple[Graph, ...] = ()
        if kind in _BODIES and (field := self._field(table, _STEP_OPTIONS)):
            options = field + self._at("<I", field)
            bodies = tuple(self.graph(self._number(options, one, "<i"), depth + 1) for one in (0, 1))
        inputs, outputs = (self._names(table, one, number) for one in (_STEP_INPUTS, _STEP_OUTPUTS))
        return GraphNode(kind, inputs, outputs, bodies)

    def _names(self, table: int, field: int, number: int) -> tuple[str, ...]:
        start, count = self._vector(table, field)
        found = struct.unpack_from(f"<{count}i", self._data, start)
        return tuple(f"{number}:{one}" if one >= 0 else "" for one in found)

    def _tables(self, table: int, field: int) -> list[int]:
        start, count = self._vector(table, field)
        return [at + self._at("<I", at) for at in range(start, start + 4 * count, 4)]

    def _vector(self, table: int, field: int) -> tuple[int, int]:
        at = self._field(table, field)
        if not at:
            return 0, 0
        start = at + self._at("<I", at)
        count = self._at("<I", start)
        if start + 4 + 4 * count > len(self._data):
            raise ValueError("the file ends early")
        return start + 4, count

    def _number(self, table: int, field: int, form: str) -> int:
        at = self._field(table, field)
        return self._at(form, at) if at else 0

    def _field(self, table: int, field: int) -> int:
        """Return where a field is; 0 where the table has none."""
        places = table - self._at("<i", table)
        at = 4 + 2 * field
        offset = self._at("<H", places + at) if at < self._at("<H", places) else 0
        return table + offset if offset else 0

    def _at(self, form: str, at: int) -> int:
        if at < 0:
            raise ValueError("not a TFLite file")
        return int(struct.unpack_from(form, self._data, at)[0])
