"""The element-wise functions of `keras.ops` and `keras.activations`, each with every kind of input it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import activations, ops

from simulators.sweep.case import Case, Table

_JUMPS = frozenset({
    "ceil", "floor", "sign", "signbit", "reciprocal", "rsqrt", "heaviside", "log", "log2", "log10", "sqrt", "cbrt",
    "trunc", "round", "equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "divide", "true_divide",
    "floor_divide", "mod", "arctan2", "divide_no_nan", "power", "fmod", "logical_not", "logical_and", "logical_or",
    "logical_xor", "isclose", "angle", "nextafter", "hard_shrink", "threshold", "digitize", "searchsorted", "unit",
})  # fmt: skip

_EDGES = frozenset({"sqrt", "power"})
_ACCURATE = frozenset({
    "log1p", "expm1", "sin", "sinh", "tan", "tanh", "arcsin", "arcsinh", "arctan", "arctanh", "erf", "cbrt", "square",
    "deg2rad", "rad2deg", "sqrt", "exp", "exp2", "multiply", "reciprocal", "rsqrt", "abs", "negative", "floor_divide",
})  # fmt: skip
"""Small results of these have all their digits."""

_UNARY = (
    "abs", "absolute", "angle", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "ceil", "copy",
    "cos", "cosh", "deg2rad", "exp", "exp2", "expm1", "fabs", "floor", "i0", "imag", "isfinite", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "log", "log10", "log1p", "log2", "logical_not", "nan_to_num", "negative",
    "rad2deg", "real", "reciprocal", "round", "sign", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh",
    "trunc", "celu", "elu", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "log_sigmoid", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "squareplus", "tanh_shrink", "erf", "erfc", "rsqrt", "conj", "conjugate",
    "zeros_like", "ones_like", "stop_gradient",
)  # fmt: skip
_NONFINITE = ("isfinite", "isinf", "isnan", "isneginf", "isposinf", "nan_to_num")
_BINARY = (
    "add", "arctan2", "divide", "divide_no_nan", "equal", "floor_divide", "fmax", "fmin", "fmod", "greater",
    "greater_equal", "heaviside", "hypot", "isclose", "less", "less_equal", "logaddexp", "logaddexp2", "logical_and",
    "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "nextafter", "not_equal", "power", "subtract",
    "true_divide",
)  # fmt: skip
_INTEGER_UNARY = ("abs", "negative", "sign", "square", "logical_not", "bitwise_not")
_INTEGER_BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "equal", "not_equal", "less", "greater_equal")
_INTEGER_DIVISION = ("floor_divide", "mod", "divide")
_BITS = ("bitwise_and", "bitwise_or", "bitwise_xor")
_DTYPES = ("int8", "uint8", "int16", "int32", "int64")


def _of(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(ops, name)
    return function


def _shifted(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(ops, name)(x, 3)


def _case(name: str, given: str = "x") -> Case:
    return Case(
        _of(name),
        given,
        jumps=name in _JUMPS,
        edge=name in _EDGES,
        floor=1e-3 if name == "squareplus" else 0.0 if name in _ACCURATE else 1e-6,
    )


OPERATIONS: Table = {
    **{name: _case(name) for name in _UNARY},
    **{f"{name}: not finite": _case(name, "nonfinite") for name in _NONFINITE},
    "power: int32": Case(lambda x: ops.power(ops.clip(x, -9, 9), 3), "int32"),
    **{name: _case(name, "xy") for name in _BINARY},
    **{
        f"{name}: {dtype}": _case(name, f"{dtype}")
        for name in _INTEGER_UNARY
        for dtype in _DTYPES
        if dtype[0] != "u" or name not in ("negative", "sign", "abs")
    },
    **{f"{name}: {dtype}": _case(name, f"{dtype} pair") for name in _INTEGER_BINARY for dtype in _DTYPES},
    **{f"{name}: {dtype}": _case(name, f"{dtype} division") for name in _INTEGER_DIVISION for dtype in _DTYPES},
    **{f"{name}: {dtype}": _case(name, f"{dtype} pair") for name in _BITS for dtype in ("int32", "uint8")},
    **{
        f"{name}: {dtype}": Case(_shifted(name), dtype)
        for name in ("bitwise_left_shift", "bitwise_right_shift", "left_shift", "right_shift")
        for dtype in ("int32", "uint8", "int64")
    },
    **{f"{name}: bool": _case(name, "bool pair") for name in ("logical_and", "logical_or", "logical_xor", "equal")},
    "bitwise_invert": Case(ops.bitwise_invert, "int32"),
    "logical_not: bool": Case(ops.logical_not, "bool"),
    "gcd": Case(lambda x: ops.gcd(x[0], 6 * ops.ones_like(x[0]))[None], "indices"),
    "lcm": Case(lambda x: ops.lcm(x[0] + 1, 6 * ops.ones_like(x[0]))[None], "indices"),
    "ldexp": Case(lambda x: ops.ldexp(x, ops.convert_to_tensor(3)), "x"),
    "clip": Case(lambda x: ops.clip(x, -3, 2.5)),
    "gelu: exact": Case(lambda x: ops.gelu(x, approximate=False)),
    "threshold": Case(lambda x: ops.threshold(x, 0.5, -7.0), jumps=True),
    "round: decimals": Case(lambda x: ops.round(x, 1), limit=1e-4),
    "cast: int32": Case(lambda x: ops.cast(ops.clip(x, -1e6, 1e6), "int32")),
    "cast: bool": Case(lambda x: ops.cast(x, "bool"), jumps=True),
    "saturate_cast": Case(lambda x: ops.saturate_cast(x, "int8")),
    "saturate_cast: uint8": Case(lambda x: ops.saturate_cast(x, "uint8")),
    "where": Case(lambda x, y: ops.where(x > y, x, y * 2), "xy"),
    "select": Case(lambda x, y: ops.select([x > 1, y > 1], [x, y], -1.0), "xy"),
    "power: 3": Case(lambda x: ops.power(x, 3), whole=True),
    "power: half": Case(lambda x: ops.power(x, 0.5), edge=True),
    "power: negative": Case(lambda x: ops.power(x, -2), jumps=True),
    "erfinv": Case(lambda x: ops.erfinv(ops.clip(x, -0.9999, 0.9999))),
    "mod: 3": Case(lambda x: ops.mod(x, 3.0), jumps=True),
    "floor_divide: 3": Case(lambda x: ops.floor_divide(x, 3.0), jumps=True),
    "view": Case(lambda x: ops.view(x, "int32")),
    "polar": Case(lambda x: ops.real(ops.polar(x, x))),
    "digitize": Case(lambda x: ops.digitize(x, [-1.0, 0.0, 0.5, 10.0]), jumps=True),
    "searchsorted": Case(
        lambda x: ops.searchsorted(ops.convert_to_tensor([-1.0, 0.0, 0.5, 10.0]), x[0])[None], jumps=True
    ),
}

_SIMPLE = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink",
)  # fmt: skip
ACTIVATIONS: Table = {
    **{
        name: Case(
            getattr(activations, name), jumps=name == "hard_shrink", floor=1e-3 if name == "squareplus" else 1e-6
        )
        for name in _SIMPLE
    },
    "threshold": Case(lambda x: activations.threshold(x, 0.5, -7.0), jumps=True),
    "glu": Case(activations.glu),
    "softmax": Case(activations.softmax, whole=True),
    "log_softmax": Case(activations.log_softmax, whole=True),
    "sparsemax": Case(activations.sparsemax, whole=True),
    "celu: 2": Case(lambda x: activations.celu(x, 2.0)),
    "elu: 2": Case(lambda x: activations.elu(x, 2.0)),
    "gelu: approximate": Case(lambda x: activations.gelu(x, approximate=True)),
    "relu: all": Case(lambda x: activations.relu(x, negative_slope=0.2, max_value=6, threshold=1)),
}
