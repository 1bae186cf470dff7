"""The plain operations of ONNX in TFLite, for a batch of one row. Pure.

A handler takes the graph, the step and its inputs, and returns what it gives. The shapes and dtypes that ONNX Runtime
found stand in the step. Values of constant inputs alone never come here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite.composites import (
    best,
    cast,
    chosen,
    dense,
    gathered,
    normalized,
    number,
    reduced,
    two,
)
from edgemm_converter.estimators.lite.flat_graph import FlatGraph, NoBuiltinsError, Shape, Value


@dataclass(frozen=True)
class Texts:
    """Strings of a table of constants, by their places in it: no kernel of a device has strings."""

    table: tuple[str, ...]
    places: Value


@dataclass(frozen=True)
class Step:
    """One node of ONNX with its attributes, and the shapes and dtypes of what it gives."""

    kind: str
    attributes: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def refused(self, why: str = "") -> NoBuiltinsError:
        """Return the refusal of the step, or of what it is asked for."""
        return NoBuiltinsError(f"{self.kind}{f' {why}' if why else ''} has no builtin operations here")


Given = Sequence[Any]
Handler = Callable[[FlatGraph, Step, Given], Any]


def _same(_graph: FlatGraph, _step: Step, given: Given) -> Any:
    return given[0]


def _of_one(kind: str, graph: FlatGraph, _step: Step, given: Given) -> Value:
    return graph.add(kind, [given[0]])


def _of_two(kind: str, graph: FlatGraph, step: Step, given: Given) -> Value:
    """Add an operation on several values; counts and places (int64) are computed in 32 bits, as old kernels can."""
    dtype = given[0].dtype
    if dtype not in ("float32", "int64") or (dtype == "int64" and kind not in ("ADD", "SUB", "MUL")):
        raise step.refused(f"of {dtype}")
    values = [cast(graph, one, "int32" if dtype == "int64" else dtype) for one in given]
    return cast(graph, reduce(lambda left, right: two(graph, kind, left, right), values), dtype)


def _compared(kind: str, graph: FlatGraph, step: Step, given: Given) -> Value:
    if given[0].dtype == "bool" or any(isinstance(one, Texts) for one in given):
        raise step.refused(f"of {given[0].dtype if isinstance(given[0], Value) else 'texts'}")
    return two(graph, kind, given[0], given[1], dtype=bool)


def _decided(kind: str, graph: FlatGraph, _step: Step, given: Given) -> Value:
    return two(graph, kind, given[0], given[1], dtype=bool)


def _cast(graph: FlatGraph, step: Step, given: Given) -> Any:
    if isinstance(given[0], Texts):
        if step.dtypes[0] != "object":
            raise step.refused("of texts to numbers")
        return given[0]
    return cast(graph, given[0], step.dtypes[0])


def _add(graph: FlatGraph, step: Step, given: Given) -> Value:
    value: Value
    value, other = given if given[1].constant is not None else reversed(given)
    is_row = len(value.shape) == 2 and other.shape in ((value.shape[1],), value.shape)
    may_be_bias = other.constant is not None and is_row and step.get("lone")
    if may_be_bias and graph.with_bias(value, graph.constant(other.constant.reshape(-1))):
        return value
    return _of_two("ADD", graph, step, given)


def _matmul(graph: FlatGraph, step: Step, given: Given) -> Value:
    rows, weights = given
    if weights.constant is None or rows.shape[:-1] not in ((), (1,)):
        raise step.refused("of two computed values")
    return dense(graph, rows, weights.constant.reshape(rows.shape[-1], -1))


def _gemm(graph: FlatGraph, step: Step, given: Given) -> Value:
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


def _softmax(graph: FlatGraph, step: Step, given: Given) -> Value:
    if step.get("axis", -1) % len(given[0].shape) != len(given[0].shape) - 1:
        raise step.refused("along another axis than the last")
    return graph.add("SOFTMAX", [given[0]])


def _softplus(graph: FlatGraph, _step: Step, given: Given) -> Value:
    small = graph.add("EXP", [graph.add("NEG", [graph.add("ABS", [given[0]])])])
    rest = graph.add("LOG", [two(graph, "ADD", small, number(graph, 1.0))])
    return two(graph, "ADD", graph.add("RELU", [given[0]]), rest)


def _concat(graph: FlatGraph, step: Step, given: Given) -> Value:
    axis = step.get("axis") % len(step.shapes[0])
    if len({one.dtype for one in given}) > 1 or given[0].dtype == "bool":
        raise step.refused(f"of {given[0].dtype}")
    return graph.add("CONCATENATION", list(given), shape=step.shapes[0], axis=axis)


def gather(graph: FlatGraph, step: Step, given: Given) -> Any:
    """Add a look-up along an axis, in a table of numbers or of texts."""
    table, places, axis = given[0], given[1], step.get("axis", 0)
    if isinstance(table, Texts):
        if table.places.constant is None:
            raise step.refused("of computed texts")
        return Texts(table.table, gathered(graph, table.places, places, axis))
    if places.constant is not None:
        places = graph.constant((places.constant % table.shape[axis]).astype(np.int32))
    return gathered(graph, table, places, axis)


def _arg(graph: FlatGraph, step: Step, given: Given, *, sign: int = 1) -> Value:
    value = given[0]
    if step.get("select_last_index") or value.dtype not in ("float32", "int32"):
        raise step.refused(f"of {value.dtype}")
    return best(graph, value if sign > 0 else graph.add("NEG", [value]), axis=step.get("axis", 0))


def _reduce(kind: str, graph: FlatGraph, step: Step, given: Given, *, squares: bool = False) -> Value:
    axes = step.get("axes") or (given[1].constant.tolist() if len(given) > 1 else range(len(given[0].shape)))
    if given[0].dtype != "float32":
        raise step.refused(f"of {given[0].dtype}")
    value = two(graph, "MUL", given[0], given[0]) if squares else given[0]
    return reduced(graph, kind, value, list(axes))


def _log_sum_exp(graph: FlatGraph, step: Step, given: Given) -> Value:
    axes = list(step.get("axes") or range(len(given[0].shape)))
    most = reduced(graph, "REDUCE_MAX", given[0], axes)
    parts = graph.add("EXP", [two(graph, "SUB", given[0], most)])
    return two(graph, "ADD", graph.add("LOG", [reduced(graph, "SUM", parts, axes)]), most)


def _pow(graph: FlatGraph, step: Step, given: Given) -> Value:
    power = given[1].constant
    if power is not None and power.size == 1 and float(power.ravel()[0]) == 2.0:
        return two(graph, "MUL", given[0], given[0])
    return _of_two("POW", graph, step, [given[0], cast(graph, given[1], "float32")])


def _where(graph: FlatGraph, step: Step, given: Given) -> Value:
    if any(isinstance(one, Texts) for one in given):
        raise step.refused("of texts")
    return chosen(graph, *given)


def _sign(graph: FlatGraph, _step: Step, given: Given) -> Value:
    zero = number(graph, 0.0, given[0].dtype)
    sides = [cast(graph, two(graph, kind, given[0], zero, dtype=bool), given[0].dtype) for kind in ("GREATER", "LESS")]
    return two(graph, "SUB", *sides)


def _clip(graph: FlatGraph, _step: Step, given: Given) -> Value:
    value: Value = given[0]
    for kind, bound in zip(("MAXIMUM", "MINIMUM"), given[1:], strict=False):
        value = two(graph, kind, value, bound) if bound is not None else value
    return value


def _reciprocal(graph: FlatGraph, _step: Step, given: Given) -> Value:
    return two(graph, "DIV", number(graph, 1.0), given[0])


def _is_nan(graph: FlatGraph, _step: Step, given: Given) -> Value:
    return two(graph, "NOT_EQUAL", given[0], given[0], dtype=bool)


def _transpose(graph: FlatGraph, step: Step, given: Given) -> Any:
    if isinstance(given[0], Texts) or step.get("perm") is None:
        raise step.refused("of texts, or of all axes")
    order = graph.constant(np.array(step.get("perm"), np.int32))
    return graph.add("TRANSPOSE", [given[0], order], shape=step.shapes[0])


def _slice(graph: FlatGraph, step: Step, given: Given) -> Any:
    """Return a part of a value: a look-up of the places along each axis."""
    bounds = [one.constant for one in given[1:] if one is not None]
    if len(bounds) != len(given) - 1 or any(one is None for one in bounds) or isinstance(given[0], Texts):
        raise step.refused("of computed places")
    starts, ends = (one.tolist() for one in bounds[:2])
    axes = bounds[2].tolist() if len(bounds) > 2 else range(len(starts))
    steps = bounds[3].tolist() if len(bounds) > 3 else [1] * len(starts)
    value: Value = given[0]
    for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
        places = np.arange(value.shape[axis], dtype=np.int32)[slice(start, end, by)]
        value = gathered(graph, value, graph.constant(places), axis)
    return value


def _lp_normalized(graph: FlatGraph, step: Step, given: Given) -> Value:
    return normalized(graph, given[0], step.get("axis", -1), norm=f"L{step.get('p', 2)}")


HANDLERS: Mapping[str, Handler] = {
    "Reciprocal": _reciprocal,
    "IsNaN": _is_nan,
    "Transpose": _transpose,
    "Slice": _slice,
    "LpNormalization": _lp_normalized,
    **dict.fromkeys(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), _same),
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
    "Concat": _concat,
    "Gather": gather,
    "Pow": _pow,
    "Where": _where,
    "Sign": _sign,
    "Clip": _clip,
}
"""By the operation of the domain of ONNX itself."""
