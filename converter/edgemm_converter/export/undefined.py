"""Sources whose answers some inputs leave open: where values tie, and where NaN meets an operation without a rule.

Where a source orders values, rounding decides ties.

A model of logarithms or roots is none where its inputs are negative, yet a ReLU, a maximum or a comparison after it may
turn NaN into any number, each engine into its own. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from edgemm_converter.data.arrays import Array

_GIVES = frozenset({"Acos", "Acosh", "Asin", "Atanh", "Div", "Log", "Log1p", "Pow", "RealDiv", "Sqrt", "Xlogy"})
"""Operations of numbers that give NaN, or the infinities of which sums are NaN."""

_TAKES = frozenset({
    "ArgMax", "ArgMin", "Cast", "Elu", "Greater", "GreaterEqual", "LeakyRelu", "Less", "LessEqual", "Max", "MaxPool",
    "Maximum", "Min", "Minimum", "Relu", "Relu6", "Selu", "Sigmoid", "Sign", "Softmax", "Tanh", "TopKV2",
})  # fmt: skip
"""Operations whose answer to NaN is each engine's own."""

_ORDERING = ("Arg", "TopK", "InTopK", "NonMaxSuppression", "CombinedNonMaxSuppression", "MaxPoolWithArgmax", "Unique")
"""What the types of such operations begin with: the greatest, the k greatest and a sort, boxes by score, groups."""

Finder = Callable[[Sequence[Array]], bool]
_FLAG = "edgemm_reached_by_nan"


def finder(concrete: Any) -> Finder | None:
    """Return what tells of a concrete function's inputs whether NaN reaches such an operation; None where none can.

    What is inside of a loop or a branch is not looked at.
    """
    operations = concrete.graph.get_operations()
    taken = {t.name for o in operations if o.type in _TAKES for t in o.inputs if t.dtype.is_floating}
    if not taken or not any(operation.type in _GIVES for operation in operations):
        return None
    definition = concrete.graph.as_graph_def()

    def look() -> None:
        tf.import_graph_def(definition, name="")
        graph = tf.compat.v1.get_default_graph()
        found = [tf.reduce_any(tf.math.is_nan(graph.get_tensor_by_name(name))) for name in sorted(taken)]
        tf.reduce_any(tf.stack(found), name=_FLAG)

    copy = tf.compat.v1.wrap_function(look, [])
    feeds = [copy.graph.get_tensor_by_name(tensor.name) for tensor in concrete.inputs]
    reached = copy.prune(feeds, copy.graph.get_tensor_by_name(f"{_FLAG}:0"))
    return lambda inputs: bool(reached(*map(tf.constant, inputs), *concrete.captured_inputs))


def orders_values(concrete: Any) -> bool:
    """Tell whether a concrete function of TensorFlow orders values, itself or in a function that it calls."""
    kinds = {operation.type for operation in concrete.graph.get_operations()}
    for function in concrete.graph.as_graph_def().library.function:
        kinds |= {node.op for node in function.node_def}
    return any(kind.startswith(_ORDERING) for kind in kinds)
