"""A tiny bundle whose image may have any height and width from 3 × 3: one convolution without padding.

    manifest = make_bundle(tmp_path / "edges-1.0.0.edgemm")

`edges = conv(image)`, float32[−1, −1, −1, 1] → float32[−1, −1, −1, 2], in LiteRT and ONNX Runtime; NumPy computes the
golden samples. Smaller images are what no engine can compute.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
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
    Signature,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)
from edgemm_runtime.tensors.npy import write_npy
from simulators import tflite
from simulators.tflite import Floats

INPUT, OUTPUT = "image", "edges"
VARIANTS = ("tflite:float32", "onnx:float32")
SIGNATURE = Signature(
    inputs=(TensorSpec(name=INPUT, dtype=DType.FLOAT32, shape=(-1, -1, -1, 1)),),
    outputs=(TensorSpec(name=OUTPUT, dtype=DType.FLOAT32, shape=(-1, -1, -1, 2)),),
)
_KERNEL = np.random.default_rng(3).normal(size=(3, 3, 1, 2)).astype(np.float32)
_BIAS = np.array([0.5, -0.5], np.float32)


def predict(image: Floats) -> Floats:
    """Compute the edges by NumPy; image is float32[batch, height, width, 1]."""
    windows = sliding_window_view(image, (3, 3), axis=(1, 2))
    return np.asarray(np.einsum("bhwcij,ijco->bhwo", windows, _KERNEL) + _BIAS, np.float32)


def make_bundle(path: Path) -> Manifest:
    """Write the bundle file and return its manifest; the golden samples are of 5 × 6."""
    x = np.random.default_rng(4).uniform(size=(2, 1, 5, 6, 1)).astype(np.float32)
    files = {"tflite:float32": tflite.conv_float32(_KERNEL, _BIAS), "onnx:float32": _onnx_file()}
    contents = [*files.values(), write_npy(x), write_npy(np.stack([predict(sample) for sample in x]))]
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    manifest = Manifest(
        format=FORMAT,
        name="edges",
        version="1.0.0",
        minimum_runtime="0.1.0",
        signature=SIGNATURE,
        variants=tuple(_variant(name, blob) for name, blob in zip(files, digests, strict=False)),
        golden=GoldenSamples(
            samples=2,
            inputs={INPUT: digests[-2]},
            outputs={OUTPUT: digests[-1]},
            tolerance={name: {OUTPUT: Tolerance(max_abs=1e-4)} for name in files},
        ),
        parity=(),
        lineage=Lineage(
            source_name="edges.keras", source_digest="0" * 64, source_format="keras", libraries={}, options={}
        ),
        blobs={
            d: Blob(size=len(c), media_type="application/octet-stream") for d, c in zip(digests, contents, strict=True)
        },
    )
    write_bundle(path, manifest, dict(zip(digests, contents, strict=True)))
    return manifest


def _variant(variant_id: str, blob: str) -> Variant:
    engine = Engine(variant_id.split(":", maxsplit=1)[0])
    names = (tflite.INPUT, tflite.OUTPUT) if engine == Engine.TFLITE else ("input", "output")
    specs = (*SIGNATURE.inputs, *SIGNATURE.outputs)
    into, out = (
        VariantTensor(name=spec.name, tensor=name, dtype=spec.dtype, shape=spec.shape)
        for spec, name in zip(specs, names, strict=True)
    )
    return Variant(
        id=variant_id, engine=engine, precision=Precision.FLOAT32, minimum_engine="0.1.5.0", blob=blob,
        inputs=(into,), outputs=(out,),
    )  # fmt: skip


def _onnx_file() -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["input"], ["first"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["first", "kernel", "bias"], ["last"]),
            helper.make_node("Transpose", ["last"], ["output"], perm=[0, 2, 3, 1]),
        ],
        "edges",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", "height", "width", 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", "rows", "columns", 2])],
        [
            numpy_helper.from_array(np.ascontiguousarray(_KERNEL.transpose(3, 2, 0, 1)), "kernel"),
            numpy_helper.from_array(_BIAS, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
