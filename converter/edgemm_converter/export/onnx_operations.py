"""Replacements for operations that tf2onnx writes and that ONNX lacks or ONNX Runtime computes wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx


def replace_unknown(proto: Any) -> None:
    """Rewrite a model in place: Erfc(x), which the exact GELU is made of, as 1 − Erf(x)."""
    nodes: list[Any] = []
    for position, node in enumerate(proto.graph.node):
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        one, erf = f"erfc_{position}_one", f"erfc_{position}_erf"
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.0), one))
        nodes.append(onnx.helper.make_node("Erf", list(node.input), [erf]))
        nodes.append(onnx.helper.make_node("Sub", [one, erf], list(node.output)))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)


def keep_zeros_in_maxima(proto: Any) -> None:
    """Rewrite a model in place: pad what MaxPool takes with the smallest float in the place of 0.

    ONNX Runtime, since 1.17, has MaxPool itself pad where a Pad of zeros stands before it, and MaxPool pads with −∞: of
    a border where all is negative, the maximum is no longer 0. Zeros of another spelling it leaves alone.
    """
    pooled = {node.input[0] for node in proto.graph.node if node.op_type == "MaxPool"}
    constants = {constant.name: constant for constant in proto.graph.initializer}
    for position, node in enumerate(proto.graph.node):
        if node.op_type != "Pad" or node.output[0] not in pooled or not _of_zeros(node, constants):
            continue
        name = f"pad_{position}_least"
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.finfo(np.float32).tiny, name))
        node.input[:] = [*node.input[:2], name, *node.input[3:]]


def _of_zeros(node: Any, constants: Mapping[str, Any]) -> bool:
    modes = [attribute.s for attribute in node.attribute if attribute.name == "mode"]
    value = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if modes not in ([], [b"constant"]) or (len(node.input) > 2 and node.input[2] and value is None):
        return False
    return value is None or (value.data_type == onnx.TensorProto.FLOAT and not onnx.numpy_helper.to_array(value).any())
