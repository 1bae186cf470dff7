"""Graphs of ONNX as TFLite files, run by the device's engine beside ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema

from edgemm.bundle.manifest import DType, Precision, Signature, TensorSpec, Variant, VariantTensor
from edgemm_converter.estimators import ensemble_graph
from edgemm_converter.estimators.lite import lite_file
from edgemm_runtime import engines

Arrays = dict[str, Any]
node = onnx.helper.make_node
ML = ensemble_graph.ML_DOMAIN
ROWS = (np.random.default_rng(0).standard_normal((30, 3)) * 2).astype(np.float32)


def graph_file(nodes: Sequence[Any], columns: int, outputs: Sequence[str], constants: Arrays | None = None) -> bytes:
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", columns])
    held = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = onnx.helper.make_graph(nodes, "g", [given], [onnx.ValueInfoProto(name=name) for name in outputs], held)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(ML, 3)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def by_onnx(file: bytes, rows: Any) -> Arrays:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": rows}), strict=True))


def by_tflite(file: bytes, rows: Any, like: Arrays) -> Arrays:
    """Run a file as a device does, a batch at a time."""
    made = lite_file.made(file)
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, rows.shape[1]))
    outputs = tuple(
        TensorSpec(name=name, dtype=DType(array.dtype.name), shape=(-1, *array.shape[1:]))
        for name, array in like.items()
    )

    def sides(specs: tuple[TensorSpec, ...]) -> tuple[VariantTensor, ...]:
        return tuple(VariantTensor(name=s.name, tensor=s.name, dtype=s.dtype, shape=(1, *s.shape[1:])) for s in specs)

    variant = Variant(
        id="tflite:float32", engine="tflite", precision=Precision.FLOAT32, minimum_engine="", blob="0" * 64,
        inputs=sides((spec,)), outputs=sides(outputs),
    )  # fmt: skip
    found: Arrays = engines.load(variant, Signature(inputs=(spec,), outputs=outputs), made.data).run({"x": rows})
    return found


def both(file: bytes, rows: Any) -> tuple[Arrays, Arrays]:
    wanted = by_onnx(file, rows)
    return wanted, by_tflite(file, rows, wanted)


def opened(file: bytes) -> Any:
    """Return the model in the TFLite file of an ONNX file."""
    return schema.ModelT.InitFromPackedBuf(lite_file.made(file).data, 0)
