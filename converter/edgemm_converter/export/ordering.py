"""Sources that order values, as by a largest one: where values tie, rounding decides what they answer."""

from __future__ import annotations

from typing import Any

_ORDERING = ("Arg", "TopK", "InTopK", "NonMaxSuppression", "CombinedNonMaxSuppression", "MaxPoolWithArgmax", "Unique")
"""What the types of such operations begin with: the greatest, the k greatest and a sort, boxes by score, groups."""


def orders_values(concrete: Any) -> bool:
    """Tell whether a concrete function of TensorFlow orders values, itself or in a function that it calls."""
    kinds = {operation.type for operation in concrete.graph.get_operations()}
    for function in concrete.graph.as_graph_def().library.function:
        kinds |= {node.op for node in function.node_def}
    return any(kind.startswith(_ORDERING) for kind in kinds)
