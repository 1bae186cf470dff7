"""The parts of a graph of columns: nodes as they are made, and values with their width and kind. Needs onnx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle.manifest import DType
from edgemm.errors import ConversionError

ML_DOMAIN = "ai.onnx.ml"
Others = Callable[..., Any]
"""Converts a step of numbers: `others(step, columns, double=…)` returns an ONNX model of one input and one output."""

_CASTS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}


@dataclass(frozen=True)
class ColumnPart:
    """Columns [rows, width] of a graph of one dtype; of one column that came in, its name."""

    name: str
    dtype: DType
    width: int = 1
    column: str = ""


@dataclass
class Nodes:
    """The nodes and constants of a graph that computes in `kind`, "float32" or "float64"."""

    kind: str
    others: Others
    opset: int = 0
    """The newest version of ONNX that a model of another step is of."""

    made: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operation: str, *inputs: str, into: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node of one output; return the output's name."""
        name = into or f"columns_{len(self.made)}_{operation.lower()}"
        self.made.append(helper.make_node(operation, list(inputs), [name], domain=domain, name=name, **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Add a constant; return its name."""
        name = f"columns_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def cast(self, name: str, dtype: str) -> str:
        """Return a value as another dtype."""
        return self.add("Cast", name, to=_CASTS[dtype])

    @property
    def number(self) -> DType:
        """The dtype of what is computed."""
        return DType(self.kind)

    def numbers(self, parts: list[ColumnPart]) -> ColumnPart:
        """Return parts of numbers as one table, in the dtype that is computed in.

        Raises:
            ConversionError: one is of texts.
        """
        if text := next((part for part in parts if part.dtype is DType.STRING), None):
            raise ConversionError(
                f"the texts of column {text.column!r} reach a step of numbers as they are: make numbers of them by an "
                "encoder or a vectorizer before it"
            )
        names = [part.name if part.dtype is self.number else self.cast(part.name, self.kind) for part in parts]
        width = sum(part.width for part in parts)
        if len(names) == 1:
            return ColumnPart(names[0], self.number, width)
        return ColumnPart(self.add("Concat", *names, axis=1), self.number, width)

    def chosen(self, parts: list[ColumnPart], places: list[int]) -> list[ColumnPart]:
        """Return the columns at some places of parts, one after the other."""
        return parts if places == list(range(sum(part.width for part in parts))) else self._taken(parts, places)

    def apart(self, parts: list[ColumnPart]) -> list[ColumnPart]:
        """Return the columns of parts, each for itself."""
        return self._taken(parts, list(range(sum(part.width for part in parts))))

    def _taken(self, parts: list[ColumnPart], places: list[int]) -> list[ColumnPart]:
        wide = [(part, i) for part in parts for i in range(part.width)]
        found: list[ColumnPart] = []
        for part, i in (wide[place] for place in places):
            if part.width == 1:
                found.append(part)
            else:
                at = self.constant(np.array([i], np.int64))
                found.append(ColumnPart(self.add("Gather", part.name, at, axis=1), part.dtype))
        return found

    def inlined(self, proto: Any, rows: str) -> str:
        """Add the nodes of a model of one input and one output, with `rows` for the input; return the output's name."""
        prefix, given = f"columns_{len(self.made)}_", str(proto.graph.input[0].name)
        renamed = onnx.compose.add_prefix(proto, prefix)
        graph = renamed.graph
        self.opset = max(self.opset, *(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")))
        for node in graph.node:
            node.input[:] = [rows if name == f"{prefix}{given}" else name for name in node.input]
        self.made.extend(graph.node)
        self.constants.extend(graph.initializer)
        output = str(graph.output[0].name)
        return rows if output == f"{prefix}{given}" else output
