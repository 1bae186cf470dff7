"""Bundles of small ONNX graphs, whose work is around the model or whose values may be wrong.

make_doubling(tmp_path / "rows-1.0.0.edgemm", "rows", (-1, 640))    # y = 2 x, of any shape
make_dividing(tmp_path / "shares-1.0.0.edgemm")                      # y = table[index] / divisor, of integers
make_lasting(tmp_path / "lasting-1.0.0.edgemm")                      # y = x, after so many products of matrices
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle import write_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import (
    FORMAT,
    Blob,
    DType,
    GoldenSamples,
    Lineage,
    Manifest,
    Precision,
    Preprocessing,
    Signature,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)
from edgemm_runtime.tensors.named_arrays import Arrays
from edgemm_runtime.tensors.npy import write_npy

INPUT, OUTPUT = "x", "y"
_VARIANT = "onnx:float32"
_TYPES = {DType.FLOAT32: TensorProto.FLOAT, DType.INT64: TensorProto.INT64}


def make_doubling(path: Path, name: str, shape: tuple[int, ...], *, preprocessing: Preprocessing | None = None) -> None:
    """Write a bundle whose input x and output y have a shape; −1 is a variable dimension, and 8 in golden samples."""
    x = np.random.default_rng(4).uniform(size=(2, *(8 if n == -1 else n for n in (1, *shape[1:])))).astype("float32")
    specs = [TensorSpec(name=tensor, dtype=DType.FLOAT32, shape=shape) for tensor in (INPUT, OUTPUT)]
    nodes = [helper.make_node("Mul", [INPUT, "two"], [OUTPUT])]
    weights = {"two": np.array([2.0], np.float32)}
    golden, both = {INPUT: x, OUTPUT: 2 * x}, (specs[:1], specs[1:])
    _write(path, name, nodes, weights, specs=both, golden=golden, preprocessing=preprocessing)


def make_slow(path: Path, name: str, *, steps: int) -> None:
    """Write a bundle whose output y is its input x [batch, 4], after so many products of 512 × 512 matrices."""
    side, shape = 512, (-1, 4)
    specs = [TensorSpec(name=tensor, dtype=DType.FLOAT32, shape=shape) for tensor in (INPUT, OUTPUT)]
    nodes = [
        helper.make_node("ReduceMax", [INPUT], ["most"], keepdims=0),
        helper.make_node("Mul", ["w", "most"], ["0"]),
    ]
    nodes += [helper.make_node("MatMul", [str(step), "w"], [str(step + 1)]) for step in range(steps)]
    nodes += [
        helper.make_node("ReduceMax", [str(steps)], ["found"], keepdims=0),
        helper.make_node("Mul", ["found", "zero"], ["nothing"]),
        helper.make_node("Add", [INPUT, "nothing"], [OUTPUT]),
    ]
    weights = {"w": np.eye(side, dtype=np.float32), "zero": np.array(0, np.float32)}
    x = np.random.default_rng(4).uniform(size=(2, 1, 4)).astype("float32")
    _write(path, name, nodes, weights, specs=(specs[:1], specs[1:]), golden={INPUT: x, OUTPUT: x})


def make_counting(path: Path, name: str) -> None:
    """Write a bundle whose output y is 0, 1, … up to its input n (int64 [1]), as float32: as long as a value says."""
    inputs = [TensorSpec(name="n", dtype=DType.INT64, shape=(1,))]
    outputs = [TensorSpec(name=OUTPUT, dtype=DType.FLOAT32, shape=(-1,))]
    nodes = [
        helper.make_node("ReduceMax", ["n"], ["most"], keepdims=0),
        helper.make_node("Range", ["zero", "most", "one"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], [OUTPUT], to=TensorProto.FLOAT),
    ]
    weights = {"zero": np.array(0), "one": np.array(1)}
    golden = {"n": np.full((2, 1), 3), OUTPUT: np.array([[0, 1, 2]] * 2, np.float32)}
    _write(path, name, nodes, weights, specs=(inputs, outputs), golden=golden)


def make_dividing(path: Path) -> None:
    """Write a bundle `shares` whose inputs `index` (0 to 9) and `divisor` (no zero) have a value a row, int64."""
    specs = [TensorSpec(name=tensor, dtype=DType.INT64, shape=(-1,)) for tensor in ("index", "divisor", OUTPUT)]
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Div", ["found", "divisor"], [OUTPUT]),
    ]
    golden = {"index": np.array([[1], [9]]), "divisor": np.array([[3], [5]]), OUTPUT: np.array([[3], [18]])}
    _write(path, "shares", nodes, {"table": np.arange(10) * 10}, specs=(specs[:2], specs[2:]), golden=golden)


def make_lasting(path: Path) -> None:
    """Write a bundle `lasting` whose input and output are one integer, int64[1]: so much work is done for it."""
    size = 64
    spec = [TensorSpec(name=tensor, dtype=DType.INT64, shape=(1,)) for tensor in (INPUT, OUTPUT)]
    scalar = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", TensorProto.INT64), ("go", 9))]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("MatMul", ["matrix", "factor"], ["product"]),
            helper.make_node("Tanh", ["product"], ["next"]),
        ],
        "step",
        [*scalar, helper.make_tensor_value_info("matrix", TensorProto.FLOAT, None)],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", [INPUT], ["times"], keepdims=0),
        helper.make_node("Loop", ["times", "", "first"], ["last"], body=body),
        helper.make_node("ReduceMax", ["last"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nothing"], ["zero"]),
        helper.make_node("Cast", ["zero"], ["none"], to=TensorProto.INT64),
        helper.make_node("Add", [INPUT, "none"], [OUTPUT]),
    ]
    weights = {
        "factor": np.eye(size, dtype=np.float32), "first": np.ones((size, size), np.float32),
        "nothing": np.zeros((), np.float32),
    }  # fmt: skip
    few = np.array([[1], [2]])
    _write(path, "lasting", nodes, weights, specs=(spec[:1], spec[1:]), golden={INPUT: few, OUTPUT: few})


def _write(
    path: Path,
    name: str,
    nodes: Sequence[Any],
    weights: Arrays,
    *,
    specs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
    golden: Arrays,
    preprocessing: Preprocessing | None = None,
) -> None:
    inputs, outputs = specs
    graph = helper.make_graph(
        nodes,
        name,
        *([_described(spec) for spec in listed] for listed in specs),
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    files = {"": bytes(model.SerializeToString()), **{key: write_npy(array) for key, array in golden.items()}}
    digests = {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}
    variant = Variant(
        id=_VARIANT, engine=Engine.ONNX, precision=Precision.FLOAT32, minimum_engine="1.17.0.0", blob=digests[""],
        inputs=_tensors(inputs), outputs=_tensors(outputs),
    )  # fmt: skip
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version="1.0.0",
        minimum_runtime="0.1.0",
        signature=Signature(inputs=tuple(inputs), outputs=tuple(outputs)),
        variants=(variant,),
        golden=GoldenSamples(
            samples=2,
            inputs=_named(digests, inputs),
            outputs=_named(digests, outputs),
            tolerance={_VARIANT: {spec.name: Tolerance(max_abs=1e-4) for spec in outputs}},
        ),
        parity=(),
        lineage=Lineage(
            source_name=f"{name}.onnx", source_digest="0" * 64, source_format="onnx", libraries={}, options={}
        ),
        blobs={
            digests[key]: Blob(size=len(data), media_type="application/octet-stream") for key, data in files.items()
        },
        preprocessing=None if preprocessing is None else {inputs[0].name: preprocessing},
    )
    write_bundle(path, manifest, {digests[key]: data for key, data in files.items()})


def _described(spec: TensorSpec) -> Any:
    shape = [f"{spec.name}{axis}" if length == -1 else length for axis, length in enumerate(spec.shape)]
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], ["batch", *shape[1:]])


def _tensors(specs: Sequence[TensorSpec]) -> tuple[VariantTensor, ...]:
    return tuple(VariantTensor(name=s.name, tensor=s.name, dtype=s.dtype, shape=s.shape) for s in specs)


def _named(digests: Mapping[str, str], specs: Sequence[TensorSpec]) -> dict[str, str]:
    return {spec.name: digests[spec.name] for spec in specs}
