"""The graph of the steps that make numbers of named columns: pipelines, ColumnTransformer, FeatureUnion, and in them.

Encoders, imputers, functions and vectorizers are written here, for skl2onnx converts some of them into other answers
without a word; all other steps, of numbers alone, are written by it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import ConversionError
from edgemm_converter.table_columns import encoders, scalar_functions, vectorizers
from edgemm_converter.table_columns.graph_parts import ColumnPart, Nodes, Others
from edgemm_converter.table_columns.named_columns import Columns, parts_of

Writer = Callable[[Nodes, Any, list[ColumnPart]], list[ColumnPart]]
_WRITERS: dict[str, Writer] = {
    "OneHotEncoder": encoders.one_hot,
    "OrdinalEncoder": encoders.ordinal,
    "TargetEncoder": encoders.target,
    "SimpleImputer": encoders.imputer,
    "MissingIndicator": encoders.indicator,
    "KBinsDiscretizer": encoders.bins,
    "FunctionTransformer": scalar_functions.written,
    "CountVectorizer": vectorizers.counts,
    "TfidfVectorizer": vectorizers.weighted,
}
"""What takes texts, or what skl2onnx does not convert as it answers."""


def written(
    front: Sequence[Any], columns: Columns, inputs: Sequence[TensorSpec], *, others: Others, double: bool
) -> tuple[Nodes, ColumnPart]:
    """Return the nodes that make one table of numbers of the columns, and that table.

    Raises:
        ConversionError: a step cannot be converted; names the class.
    """
    nodes = Nodes("float64" if double else "float32", others)
    shape = nodes.constant(np.array([-1, 1], np.int64))
    by_place = {
        column.place: ColumnPart(nodes.add("Reshape", spec.name, shape), spec.dtype, 1, column.name)
        for column, spec in zip(columns.columns, inputs, strict=True)
    }
    given = [by_place.get(place, ColumnPart("", DType.FLOAT32)) for place in range(columns.fitted)]
    parts = [given[column.place] for column in columns.columns] if not front else given
    for step in front:
        parts = _step(nodes, step, parts)
    return nodes, nodes.numbers(parts)


def _step(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    name = type(step).__name__
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return parts
    if name == "Pipeline":
        for _, one in step.steps:
            parts = _step(nodes, one, parts)
        return parts
    if name == "ColumnTransformer":
        weights = step.transformer_weights or {}
        made: list[ColumnPart] = []
        for label, part, chosen in parts_of(step):
            made += _weighted(nodes, _step(nodes, part, nodes.chosen(parts, chosen)), weights.get(label))
        return made
    if name == "FeatureUnion":
        weights = step.transformer_weights or {}
        return [
            one
            for label, part in step.transformer_list
            if not (isinstance(part, str) and part == "drop")
            for one in _weighted(nodes, _step(nodes, part, parts), weights.get(label))
        ]
    if name in _WRITERS and type(step).__module__.startswith("sklearn."):
        return _WRITERS[name](nodes, step, parts)
    return [_of_numbers(nodes, step, parts)]


def _weighted(nodes: Nodes, parts: list[ColumnPart], weight: Any) -> list[ColumnPart]:
    if weight is None:
        return parts
    found = nodes.numbers(parts)
    factor = nodes.constant(np.array(weight, nodes.kind))
    return [ColumnPart(nodes.add("Mul", found.name, factor), nodes.number, found.width)]


def _of_numbers(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> ColumnPart:
    if text := next((part for part in parts if part.dtype is DType.STRING), None):
        raise ConversionError(
            f"{type(step).__name__} takes the texts of column {text.column!r}: edgemm converts texts for "
            f"{', '.join(name for name in _WRITERS)}; make numbers of them before this step, or before the model"
        )
    rows = nodes.numbers(parts)
    proto = nodes.others(step, rows.width, double=nodes.kind == "float64")
    if proto.functions:
        raise ConversionError(
            f"{type(step).__name__} cannot be converted as a step of some columns: fit it on a table of numbers alone, "
            "or take SimpleImputer"
        )
    name = nodes.inlined(proto, rows.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = step.transform(np.ones((2, rows.width)))
    return ColumnPart(nodes.cast(name, nodes.kind), nodes.number, value.shape[1])
