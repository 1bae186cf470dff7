"""What ONNX Runtime gets wrong is written so that it gets it right."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemm_converter.export.onnx_operations import keep_zeros_in_maxima

PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


def padded_maximum(*more: str, value: float = 0.0) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Pad", ["x", "pads", *more], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
    ]
    constants = [numpy_helper.from_array(PADS, "pads"), numpy_helper.from_array(np.float32(value), "value")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 5, 5])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 3, 3])
    graph = helper.make_graph(nodes, "graph", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answer(proto: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": np.full((1, 1, 5, 5), -2.0, np.float32)})[0]
    return found


@pytest.mark.parametrize("more", [(), ("value",)])
def test_zeros_around_what_is_negative_stay_the_maximum_of_the_border(more: tuple[str, ...]) -> None:
    proto = padded_maximum(*more)
    keep_zeros_in_maxima(proto)
    expected = np.zeros((3, 3))
    expected[1, 1] = -2.0
    assert np.allclose(answer(proto)[0, 0], expected)


def test_padding_with_another_value_stays_as_it_is() -> None:
    proto = padded_maximum("value", value=-1.0)
    before = proto.SerializeToString()
    keep_zeros_in_maxima(proto)
    assert proto.SerializeToString() == before
