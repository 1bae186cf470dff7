"""TFLite variants of estimators: the precisions that there are, and what is said of those that there are not."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_quantizer")


from edgemm.bundle.manifest import DType, Signature, TensorSpec  # noqa: E402
from edgemm.errors import ConversionError, MissingExtraError  # noqa: E402
from edgemm_converter.children.protocol import ExportRequest, SetKind  # noqa: E402
from edgemm_converter.children.samples import InputSet  # noqa: E402
from edgemm_converter.estimators import ensemble_graph, tree_tables  # noqa: E402
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode  # noqa: E402
from edgemm_converter.export import quantization  # noqa: E402
from edgemm_converter.export.lite import lite_variants  # noqa: E402
from edgemm_converter.export.lite.lite_variants import LiteVariants  # noqa: E402

node = onnx.helper.make_node
RNG = np.random.default_rng(0)
WEIGHTS = {"w1": (4, 16), "b1": (16,), "w2": (16, 2), "b2": (2,)}
SIGNATURE = Signature(
    inputs=(TensorSpec(name="input", dtype=DType.FLOAT32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="value", dtype=DType.FLOAT32, shape=(-1, 2)),),
)
REAL = InputSet("real", SetKind.CALIBRATION, {"input": RNG.standard_normal((64, 1, 4)).astype(np.float32)}, 64, 64)
ALL = ("tflite:float32", "tflite:float16", "tflite:int8", "tflite:int8-dynamic")
pytestmark = pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`:UserWarning")


def graph_file(nodes: list[Any], constants: dict[str, Any] | None = None) -> bytes:
    sides = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width])
        for name, width in (("input", 4), ("value", 2))
    ]
    held = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = onnx.helper.make_graph(nodes, "g", sides[:1], sides[1:], held)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(ensemble_graph.ML_DOMAIN, 3)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def perceptron() -> bytes:
    nodes = [
        node("MatMul", ["input", "w1"], ["m1"]), node("Add", ["m1", "b1"], ["a1"]), node("Relu", ["a1"], ["h"]),
        node("MatMul", ["h", "w2"], ["m2"]), node("Add", ["m2", "b2"], ["value"]),
    ]  # fmt: skip
    return graph_file(nodes, {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in WEIGHTS.items()})


def tree() -> bytes:
    nodes = (TreeNode(0, 0.1, 1, 2), TreeNode(LEAF, values=(0.0, 1.0)), TreeNode(LEAF, values=(2.0, 3.0)))
    table = Ensemble((Tree(nodes),), 4, (0.0, 0.0), Link.IDENTITY, classifies=False)
    return graph_file(ensemble_graph.nodes(tree_tables.rounded(table), "input", ["value"]))


def made(file: bytes, folder: Path, *variants: str, required: tuple[str, ...] = ()) -> LiteVariants:
    request = ExportRequest(source="m", format="pickle", variants=("onnx:float32", *variants), required=required)
    quantize = partial(quantization.quantize, calibration=REAL.arrays)
    return lite_variants.of(
        request, lambda: file, SIGNATURE, quantize=quantize, folder=folder, progress=lambda _stage: None
    )


def test_a_perceptron_has_the_usual_precisions(tmp_path: Path) -> None:
    found = made(perceptron(), tmp_path, *ALL)
    assert [variant.id for variant in found.made] == list(ALL)
    dtypes = {variant.id: variant.inputs[0].dtype for variant in found.made}
    assert (dtypes["tflite:int8"], dtypes["tflite:float16"]) == (DType.INT8, DType.FLOAT32)
    assert found.made[0].minimum_engine == "0.1.14.0"
    assert not found.left_out


def test_trees_compare_in_float32_alone(tmp_path: Path) -> None:
    found = made(tree(), tmp_path, *ALL)
    assert [variant.id for variant in found.made] == ["tflite:float32"]
    for variant in ALL[1:]:
        assert "by comparing numbers, as trees do" in found.left_out[variant]
        assert found.left_out[variant].endswith("float32 alone")


def test_what_was_asked_for_by_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="TFLite int8: the model tells rows from one another by comparing"):
        made(tree(), tmp_path, "tflite:int8", required=("tflite:int8",))


def test_without_litert_it_is_left_out_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    found = made(tree(), tmp_path, "tflite:float32")
    assert not found.made
    assert "pip install 'edgemm[runtime]'" in found.left_out["tflite:float32"]
    with pytest.raises(MissingExtraError, match="ai_edge_litert"):
        made(tree(), tmp_path, "tflite:float32", required=("tflite:float32",))
