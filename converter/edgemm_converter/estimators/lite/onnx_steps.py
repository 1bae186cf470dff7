"""The operations of ONNX that compute, in TFLite, for a batch of one row. Pure.

A handler takes the graph, the step and its inputs, and returns what it gives. The shapes and dtypes that ONNX Runtime
found stand in the step. Values of constant inputs alone never come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite.composites import best, cast, dense, normalized, number, reduced, two
from edgemm_converter.estimators.lite.flat_graph import FlatGraph, Value
from edgemm_converter.estimators.lite.step import Given, GraphStep, Handler, Texts


def _of_one(kind: str, graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    return graph.add(kind, [given[0]])


def _of_two(kind: str, graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    """Add an operation on several values; counts and places (int64) are computed in 32 bits, as old kernels can."""
    dtype = given[0].dtype
    if dtype not in ("float32", "int64") or (dtype == "int64" and kind not in ("ADD", "SUB", "MUL")):
        raise step.refused(f"of {dtype}")
    values = [cast(graph, one, "int32" if dtype == "int64" else dtype) for one in given]
    return cast(graph, reduce(lambda left, right: two(graph, kind, left, right), values), dtype)


def _compared(kind: str, graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    if given[0].dtype == "bool" or any(isinstance(one, Texts) for one in given):
        raise step.refused(f"of {given[0].dtype if isinstance(given[0], Value) else 'texts'}")
    return two(graph, kind, given[0], given[1], dtype=bool)


def _decided(kind: str, graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    return two(graph, kind, given[0], given[1], dtype=bool)


def _cast(graph: FlatGraph, step: GraphStep, given: Given) -> Any:
    if isinstance(given[0], Texts):
        if step.dtypes[0] != "object":
            raise step.refused("of texts to numbers")
        return given[0]
    return cast(graph, given[0], step.dtypes[0])


def _add(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    value: Value
    value, other = given if given[1].constant is not None else reversed(given)
    is_row = len(value.shape) == 2 and other.shape in ((value.shape[1],), value.shape)
    may_be_bias = other.constant is not None and is_row and step.get("lone")
    if may_be_bias and graph.with_bias(value, graph.constant(other.constant.reshape(-1))):
        return value
    return _of_two("ADD", graph, step, given)


def _matmul(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    rows, weights = given
    if weights.constant is None or rows.shape[:-1] not in ((), (1,)):
        raise step.refused("of two computed values")
    return dense(graph, rows, weights.constant.reshape(rows.shape[-1], -1))


def _gemm(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    rows, weights, *more = given
    if weights.constant is None or rows.shape[0] != 1 or step.get("transA"):
        raise step.refused("of two computed values")
    table = weights.constant.T if step.get("transB") else weights.constant
    table = table * np.float32(step.get("alpha", 1.0))
    if not more:
        return dense(graph, rows, table)
    scale = np.float32(step.get("beta", 1.0))
    if more[0].constant is not None:
        return dense(graph, rows, table, np.broadcast_to(more[0].constant * scale, (1, table.shape[1])))
    return two(graph, "ADD", dense(graph, rows, table), two(graph, "MUL", more[0], number(graph, float(scale))))


def _softmax(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    if step.get("axis", -1) % len(given[0].shape) != len(given[0].shape) - 1:
        raise step.refused("along another axis than the last")
    return graph.add("SOFTMAX", [given[0]])


def _softplus(graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    small = graph.add("EXP", [graph.add("NEG", [graph.add("ABS", [given[0]])])])
    rest = graph.add("LOG", [two(graph, "ADD", small, number(graph, 1.0))])
    return two(graph, "ADD", graph.add("RELU", [given[0]]), rest)


def _arg(graph: FlatGraph, step: GraphStep, given: Given, *, sign: int = 1) -> Value:
    value = given[0]
    if step.get("select_last_index") or value.dtype not in ("float32", "int32"):
        raise step.refused(f"of {value.dtype}")
    return best(graph, value if sign > 0 else graph.add("NEG", [value]), axis=step.get("axis", 0))


def _reduce(kind: str, graph: FlatGraph, step: GraphStep, given: Given, *, squares: bool = False) -> Value:
    axes = step.get("axes") or (given[1].constant.tolist() if len(given) > 1 else range(len(given[0].shape)))
    if given[0].dtype != "float32":
        raise step.refused(f"of {given[0].dtype}")
    value = two(graph, "MUL", given[0], given[0]) if squares else given[0]
    return reduced(graph, kind, value, list(axes))


def _log_sum_exp(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    axes = list(step.get("axes") or range(len(given[0].shape)))
    most = reduced(graph, "REDUCE_MAX", given[0], axes)
    parts = graph.add("EXP", [two(graph, "SUB", given[0], most)])
    return two(graph, "ADD", graph.add("LOG", [reduced(graph, "SUM", parts, axes)]), most)


def _pow(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    power = given[1].constant
    if power is not None and power.size == 1 and float(power.ravel()[0]) == 2.0:
        return two(graph, "MUL", given[0], given[0])
    return _of_two("POW", graph, step, [given[0], cast(graph, given[1], "float32")])


def _sign(graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    zero = number(graph, 0.0, given[0].dtype)
    sides = [cast(graph, two(graph, kind, given[0], zero, dtype=bool), given[0].dtype) for kind in ("GREATER", "LESS")]
    return two(graph, "SUB", *sides)


def _clip(graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    value: Value = given[0]
    for kind, bound in zip(("MAXIMUM", "MINIMUM"), given[1:], strict=False):
        value = two(graph, kind, value, bound) if bound is not None else value
    return value


def _reciprocal(graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    return two(graph, "DIV", number(graph, 1.0), given[0])


def _is_nan(graph: FlatGraph, _step: GraphStep, given: Given) -> Value:
    return two(graph, "NOT_EQUAL", given[0], given[0], dtype=bool)


def _lp_normalized(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    return normalized(graph, given[0], step.get("axis", -1), norm=f"L{step.get('p', 2)}")


HANDLERS: Mapping[str, Handler] = {
    "Reciprocal": _reciprocal,
    "IsNaN": _is_nan,
    "LpNormalization": _lp_normalized,
    **{name: partial(_of_one, name.upper()) for name in ("Neg", "Abs", "Exp", "Log", "Sqrt", "Relu", "Tanh")},
    "Sigmoid": partial(_of_one, "LOGISTIC"),
    "Not": partial(_of_one, "LOGICAL_NOT"),
    **{name: partial(_of_two, name.upper()) for name in ("Sub", "Mul", "Div")},
    "Sum": partial(_of_two, "ADD"),
    "Max": partial(_of_two, "MAXIMUM"),
    "Min": partial(_of_two, "MINIMUM"),
    "Equal": partial(_compared, "EQUAL"),
    "Greater": partial(_compared, "GREATER"),
    "GreaterOrEqual": partial(_compared, "GREATER_EQUAL"),
    "Less": partial(_compared, "LESS"),
    "LessOrEqual": partial(_compared, "LESS_EQUAL"),
    "And": partial(_decided, "LOGICAL_AND"),
    "Or": partial(_decided, "LOGICAL_OR"),
    "ReduceSum": partial(_reduce, "SUM"),
    "ReduceSumSquare": partial(_reduce, "SUM", squares=True),
    "ReduceMean": partial(_reduce, "MEAN"),
    "ReduceMax": partial(_reduce, "REDUCE_MAX"),
    "ReduceProd": partial(_reduce, "REDUCE_PROD"),
    "ReduceLogSumExp": _log_sum_exp,
    "ArgMax": _arg,
    "ArgMin": partial(_arg, sign=-1),
    "Cast": _cast,
    "Add": _add,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Pow": _pow,
    "Sign": _sign,
    "Clip": _clip,
}
"""By the operation of the domain of ONNX itself."""
