"""The conversion of scalers for skl2onnx: by the operations of scikit-learn, in their order.

Its own multiply where scikit-learn divides, so that trees behind a scaler compare another number. In double precision
these make the same number of every row, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper
from skl2onnx.common.data_types import DoubleTensorType


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a scaler."""
    model, given = operator.raw_operator, operator.inputs
    dtype: Any = np.float64 if any(isinstance(one.type, DoubleTensorType) for one in given) else np.float32

    def add(kind: str, inputs: list[str], into: str = "", **attributes: Any) -> str:
        name = into or scope.get_unique_variable_name(f"scaled_{kind.lower()}")
        container.add_node(kind, inputs, [name], name=scope.get_unique_operator_name(kind), **attributes)
        return name

    names = [one.full_name for one in given]
    rows = add("Concat", names, axis=1) if len(names) > 1 else names[0]
    for kind, values in _steps(model):
        told = numpy_helper.from_array(np.asarray(values, np.float64).astype(dtype)[np.newaxis])
        rows = add(kind, [rows, add("Constant", [], value=told)])
    if getattr(model, "clip", False):
        limits = [
            add("Constant", [], value=numpy_helper.from_array(np.array(limit, dtype))) for limit in model.feature_range
        ]
        rows = add("Min", [add("Max", [rows, limits[0]]), limits[1]])
    add("Identity", [rows], into=operator.outputs[0].full_name)


def _steps(model: Any) -> list[tuple[str, Any]]:
    """Return the operations of a scaler, each with what it takes for every column."""
    name = type(model).__name__
    if name == "StandardScaler":
        found = [("Sub", model.mean_ if model.with_mean else None), ("Div", model.scale_ if model.with_std else None)]
    elif name == "MinMaxScaler":
        found = [("Mul", model.scale_), ("Add", model.min_)]
    elif name == "MaxAbsScaler":
        found = [("Div", model.scale_)]
    else:
        centre = model.center_ if model.with_centering else None
        found = [("Sub", centre), ("Div", model.scale_ if model.with_scaling else None)]
    return [(kind, values) for kind, values in found if values is not None]
