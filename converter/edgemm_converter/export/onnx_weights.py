"""The weights of an ONNX file, put in as constants after tf2onnx converted the graph with weights as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from edgemm_converter.data.arrays import Array


def put_in(proto: Any, weights: Mapping[str, Array]) -> None:
    """Rewrite a model in place: `weights`, by the names of inputs, become constants, transposed where it does that.

    Those that nothing needs any more go when the model gets its canonical form.
    """
    values = dict(weights)
    kept = []
    for node in proto.graph.node:
        if node.op_type in ("Identity", "Transpose") and node.input[0] in values:
            values[node.output[0]] = _transposed(node, values[node.input[0]])
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    inputs = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in proto.graph.input if i.name not in weights]
    del proto.graph.node[:], proto.graph.input[:]
    proto.graph.node.extend(kept)
    proto.graph.input.extend(inputs)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in values.items()
    )


def _transposed(node: Any, values: Array) -> Array:
    axes = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
    return values.transpose(axes) if node.op_type == "Transpose" else values
