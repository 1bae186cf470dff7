"""Tensors of rank 0 are arrays to every engine, and never NumPy's scalars."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from msgspec import UNSET
from onnx import TensorProto, helper

from edgemm.bundle.manifest import DType, Quantization, Signature, TensorSpec, Tolerance, VariantTensor
from edgemm_runtime import engines
from edgemm_runtime.engines import golden
from edgemm_runtime.tensors import affine as quantization
from edgemm_runtime.tensors.npy import write_npy
from simulators.models import Dense, make_variant

SIGNATURE = Signature(
    inputs=tuple(TensorSpec(name=name, dtype=DType.FLOAT32, shape=()) for name in "xg"),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=()),),
)


def product() -> bytes:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "g"], ["y"])],
        "product",
        [info(name, TensorProto.FLOAT, []) for name in "xg"],
        [info("y", TensorProto.FLOAT, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_model_of_scalars_passes_its_golden_samples() -> None:
    tensors = [VariantTensor(name=s.name, tensor=s.name, dtype=s.dtype, shape=()) for s in SIGNATURE.inputs]
    out = VariantTensor(name="y", tensor="y", dtype=DType.FLOAT32, shape=())
    made = make_variant(Dense.random(0), "onnx:float32", blob="0" * 64)
    variant = msgspec.structs.replace(made, inputs=tuple(tensors), outputs=(out,))
    x, g = np.array([1.5, -2], np.float32), np.array([2, 0.5], np.float32)
    blobs = {"x": write_npy(x), "g": write_npy(g), "y": write_npy(x * g)}
    samples = SimpleNamespace(
        samples=2, inputs={"x": "x", "g": "g"}, outputs={"y": "y"}, tolerance={variant.id: {"y": Tolerance(max_abs=0)}},
        sampled=UNSET, deflated=UNSET, other_kernels=UNSET,
    )  # fmt: skip
    source = SimpleNamespace(manifest=SimpleNamespace(signature=SIGNATURE, golden=samples), read=blobs.__getitem__)
    golden.check(source, variant, engines.load(variant, SIGNATURE, product()))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT64, DType.FLOAT16])
def test_quantizing_and_back_keeps_an_array(dtype: DType) -> None:
    affine = Quantization(scale=0.5, zero_point=3) if dtype is DType.INT8 else None
    tensor = VariantTensor(name="x", tensor="x", dtype=dtype, shape=(), quantization=affine)
    stored = quantization.to_file(np.array(2.0, np.float32), tensor)
    back = quantization.from_file(stored, tensor, dtype=DType.FLOAT32)
    assert (type(stored), stored.shape) == (np.ndarray, ())
    assert (type(back), back.shape, float(back)) == (np.ndarray, (), 2.0)
    prepared = quantization.input_cast(tensor)(np.array(2.0, np.float32))
    answered = quantization.output_cast(tensor, dtype=DType.FLOAT32)(prepared)
    assert (type(prepared), prepared.shape) == (np.ndarray, ())
    assert (type(answered), answered.shape, float(answered)) == (np.ndarray, (), 2.0)
