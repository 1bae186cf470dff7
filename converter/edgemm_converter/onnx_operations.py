"""Operations that tf2onnx passes through and ONNX does not have, written as those that it has."""

from __future__ import annotations

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
