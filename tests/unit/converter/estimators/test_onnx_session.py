"""What ONNX Runtime refuses is one plain line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgemm.errors import ConversionError
from edgemm_converter.estimators.onnx_session import FileSession


def file(kind: str) -> bytes:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("input", "value")]
    graph = helper.make_graph([helper.make_node(kind, ["input"], ["value"])], "model", sides[:1], sides[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.ModelProto.SerializeToString(model))


def test_a_file_that_cannot_be_loaded_is_refused() -> None:
    for content in (b"no file", file("NoSuchOperation")):
        with pytest.raises(ConversionError, match="ONNX Runtime cannot load what was converted"):
            FileSession(content)


def test_a_file_that_cannot_be_run_is_refused() -> None:
    session = FileSession(file("Relu"))
    assert session.run({"input": np.ones((1, 2), np.float32)}, ["value"])["value"].tolist() == [[1, 1]]
    with pytest.raises(ConversionError, match="ONNX Runtime cannot run what was converted"):
        session.run({"input": np.ones((1, 3), np.float32)}, ["value"])
