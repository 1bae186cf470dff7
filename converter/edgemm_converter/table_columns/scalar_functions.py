"""The conversion of FunctionTransformer: of NumPy's functions of one number, known by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgemm.errors import ConversionError
from edgemm_converter.table_columns.graph_parts import ColumnPart, Nodes

_PLAIN = {
    "abs": "Abs", "absolute": "Abs", "fabs": "Abs", "ceil": "Ceil", "cos": "Cos", "exp": "Exp", "floor": "Floor",
    "log": "Log", "negative": "Neg", "reciprocal": "Reciprocal", "rint": "Round", "sign": "Sign", "sin": "Sin",
    "sqrt": "Sqrt", "tanh": "Tanh",
}  # fmt: skip


def written(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return what a FunctionTransformer makes of parts.

    Raises:
        ConversionError: its function is another one.
    """
    if step.func is None:
        return parts
    name = getattr(step.func, "__name__", type(step.func).__name__)
    known = getattr(np, name, None) is step.func and not step.kw_args
    if not known or name not in {*_PLAIN, "log1p", "expm1", "log2", "log10", "square"}:
        raise ConversionError(
            f"FunctionTransformer of {name}: edgemm converts NumPy's {', '.join(sorted(_PLAIN))}, expm1, log10, log1p, "
            "log2 and square; do this part of the work before the model"
        )
    rows = nodes.numbers(parts)
    return [ColumnPart(_function(nodes, name, rows.name), nodes.number, rows.width)]


def _function(nodes: Nodes, name: str, rows: str) -> str:
    def number(value: float) -> str:
        return nodes.constant(np.array(value, nodes.kind))

    if name == "log1p":
        return nodes.add("Log", nodes.add("Add", rows, number(1.0)))
    if name == "expm1":
        return nodes.add("Sub", nodes.add("Exp", rows), number(1.0))
    if name in ("log2", "log10"):
        return nodes.add("Div", nodes.add("Log", rows), number(float(np.log(2.0 if name == "log2" else 10.0))))
    if name == "square":
        return nodes.add("Mul", rows, rows)
    return nodes.add(_PLAIN[name], rows)
