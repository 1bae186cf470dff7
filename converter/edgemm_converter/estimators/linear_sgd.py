"""The conversion of SGDClassifier for skl2onnx, whose own takes the class with the largest probability.

scikit-learn takes that with the largest decision. Of several classes two decisions are often so large that both
probabilities are 1, or cut to 1 or 0 (`modified_huber`). Imports skl2onnx.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType


def shapes(operator: Any) -> None:
    """Set the types of label and scores; a label is the class where classes are integers, else its place."""
    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    kind = DoubleTensorType if isinstance(operator.inputs[0].type, DoubleTensorType) else FloatTensorType
    operator.outputs[0].type = Int64TensorType([rows])
    operator.outputs[1].type = kind([rows, len(model.classes_)])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a classifier: decisions, the class of the largest, and probabilities where it has them."""
    model, given = operator.raw_operator, operator.inputs[0]
    dtype: Any = np.float64 if isinstance(given.type, DoubleTensorType) else np.float32
    to = TensorProto.DOUBLE if dtype is np.float64 else TensorProto.FLOAT
    label, scores = (output.full_name for output in operator.outputs)

    def add(kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        name = into or scope.get_unique_variable_name(f"sgd_{kind.lower()}")
        container.add_node(kind, list(inputs), [name], name=scope.get_unique_operator_name(kind), **attributes)
        return name

    def constant(value: Any) -> str:
        return add("Constant", value=numpy_helper.from_array(np.asarray(value)))

    rows = add("Cast", given.full_name, to=to)
    weights, offset = constant(model.coef_.T.astype(dtype)), constant(model.intercept_.astype(dtype))
    decisions = add("Add", add("MatMul", rows, weights), offset)
    if len(model.classes_) == 2:
        decisions = add("Concat", add("Neg", decisions), decisions, axis=1)
    places = add("ArgMax", decisions, axis=1, keepdims=0)
    classes = np.asarray(model.classes_)
    known = classes if classes.dtype.kind in "biuf" else np.arange(len(classes))
    add("Gather", constant(known.astype(np.int64)), places, into=label, axis=0)
    options = container.get_options(model, {"raw_scores": False})
    if options["raw_scores"] or not hasattr(model, "predict_proba"):
        add("Identity", decisions, into=scores)
        return
    if model.loss == "log_loss":
        # Sigmoid of ONNX Runtime is 0 from about -18 (float32) or -37 on, where shares of small numbers still differ.
        shares = add("Reciprocal", add("Add", add("Exp", add("Neg", decisions)), constant(dtype(1))))
    else:
        cut = add("Clip", decisions, constant(dtype(-1)), constant(dtype(1)))
        shares = add("Div", add("Add", cut, constant(dtype(1))), constant(dtype(2)))
    if len(classes) == 2:
        add("Identity", shares, into=scores)
        return
    whole = add("ReduceSum", shares, constant(np.array([1], np.int64)), keepdims=1)
    none = add("Equal", whole, constant(dtype(0)))  # then all are the same
    even = add("Add", add("Mul", shares, constant(dtype(0))), constant(dtype(1 / len(classes))))
    add("Where", none, even, add("Div", shares, add("Where", none, constant(dtype(1)), whole)), into=scores)
