"""Inputs to which a program's answer is open: where values tie, and where NaN meets an operator without a rule for it.

What `export.undefined` tells of graphs of TensorFlow. Imports PyTorch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from edgemm_converter.data.arrays import Array
from edgemm_converter.programs import program
from edgemm_converter.programs.program import Program

_GIVES = frozenset({
    "acos", "acosh", "asin", "atanh", "div", "log", "log10", "log1p", "log2", "logit", "pow", "reciprocal", "rsqrt",
    "sqrt", "xlogy",
})  # fmt: skip
"""Operators of numbers that give NaN, or the infinities of which sums are NaN."""

_TAKES = frozenset({
    "adaptive_max_pool2d", "amax", "amin", "argmax", "argmin", "clamp", "clamp_max", "clamp_min", "elu", "ge", "gt",
    "hardsigmoid", "hardswish", "hardtanh", "le", "leaky_relu", "log_softmax", "lt", "max", "max_pool1d", "max_pool2d",
    "maximum", "min", "minimum", "prelu", "relu", "relu6", "selu", "sigmoid", "sign", "silu", "softmax", "sort", "tanh",
    "to", "topk",
})  # fmt: skip
"""Operators whose answer to NaN is each engine's own."""

_ORDERING = frozenset(
    {"argmax", "argmin", "argsort", "kthvalue", "max", "median", "min", "mode", "sort", "topk", "unique"}
)


def orders_values(exported: Any) -> bool:
    """Tell whether a program orders values, so that rounding decides ties."""
    return any(name.rstrip("_") in _ORDERING for name, _ in program.calls(exported))


def finder(source: Program) -> Callable[[Mapping[str, Array]], bool] | None:
    """Return what tells of inputs whether NaN reaches such an operator; None where none can.

    What is inside of a loop or a branch is not looked at.
    """
    names = {name.rstrip("_") for name, _ in program.calls(source.exported)}
    if not names & _GIVES or not names & _TAKES:
        return None

    def reached(inputs: Mapping[str, Array]) -> bool:
        watch = _Watch(source.module)
        tensors = {name: torch.from_numpy(array).to(source.dtypes[name]) for name, array in inputs.items()}
        leaves = [tensors[one] if isinstance(one, str) else one.value for one in source.arguments]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watch.run(*leaves, enable_io_processing=False)
        return watch.reached

    return reached


class _Watch(torch.fx.Interpreter):  # type: ignore[misc]  # no types where PyTorch is not installed
    """Runs a graph and notes where NaN is taken."""

    reached = False

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Look at the arguments of one operator, and call it."""
        if getattr(target, "_opname", "").rstrip("_") in _TAKES:
            floats = (
                one for one in pytree.tree_leaves(args) if isinstance(one, torch.Tensor) and one.is_floating_point()
            )
            self.reached = self.reached or any(bool(one.isnan().any()) for one in floats)
        return super().call_function(target, args, kwargs)
