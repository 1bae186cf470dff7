"""The conversion of OneHotEncoder for skl2onnx, whose own takes 0.7 for category 0. Imports skl2onnx.

Each output is whether its column has its category: all of them are compared at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from skl2onnx.operator_converters.one_hot_encoder import convert_sklearn_one_hot_encoder


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of an encoder; of texts and of rare categories those of skl2onnx."""
    model, kinds = operator.raw_operator, {type(one.type) for one in operator.inputs}
    rare = getattr(model, "_infrequent_enabled", False)
    if rare or len(kinds) > 1 or not kinds <= {FloatTensorType, DoubleTensorType}:
        convert_sklearn_one_hot_encoder(scope, operator, container)
        return
    dtype: Any = np.float64 if DoubleTensorType in kinds else np.float32
    columns, values = _told(model, dtype)

    def add(kind: str, inputs: list[str], into: str = "", **attributes: Any) -> str:
        name = into or scope.get_unique_variable_name(f"one_hot_{kind.lower()}")
        container.add_node(kind, inputs, [name], name=scope.get_unique_operator_name(kind), **attributes)
        return name

    def constant(array: Any) -> str:
        return add("Constant", [], value=numpy_helper.from_array(array))

    names = [one.full_name for one in operator.inputs]
    rows = add("Concat", names, axis=1) if len(names) > 1 else names[0]
    given = add("Gather", [rows, constant(columns)], axis=1)
    to = TensorProto.INT64 if isinstance(operator.outputs[0].type, Int64TensorType) else TensorProto.FLOAT
    add("Cast", [add("Equal", [given, constant(values)])], into=operator.outputs[0].full_name, to=to)


def _told(model: Any, dtype: Any) -> tuple[Any, Any]:
    """Return the column and the category of each output; NaN for one that no row of the dtype can have."""
    columns: list[int] = []
    values: list[float] = []
    for column, categories in enumerate(model.categories_):
        known = np.asarray(categories, np.float64)
        if np.isnan(known).any():
            raise NotImplementedError("OneHotEncoder with a category for missing values is not converted")
        dropped = model.drop_idx_[column] if getattr(model, "drop_idx_", None) is not None else None
        kept = [place for place in range(len(known)) if place != dropped]
        columns += [column] * len(kept)
        values += known[kept].tolist()
    exact = np.array(values, np.float64)
    rounded = exact.astype(dtype)
    return np.array(columns, np.int64), np.where(rounded == exact, rounded, np.nan).astype(dtype)
