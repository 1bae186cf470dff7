"""Tiny bundles with real model files, made in milliseconds and without TensorFlow.

    manifest = make_bundle(tmp_path / "tiny-1.0.0.edgemm", name="tiny", version="1.0.0", seed=1)

The model is one dense layer, `scores = x @ kernel + bias`, float32[−1, 4] → float32[−1, 3]; NumPy computes the
golden samples. `scramble=True` shuffles the weights after the golden samples were recorded: only running it shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
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
    Quantization,
    Signature,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)
from edgemm_runtime.tensors.npy import write_npy
from simulators import tflite
from simulators.tflite import Affine, Floats

INPUT, OUTPUT = "x", "scores"
FEATURES, CLASSES = 4, 3
SIGNATURE = Signature(
    inputs=(TensorSpec(name=INPUT, dtype=DType.FLOAT32, shape=(-1, FEATURES)),),
    outputs=(TensorSpec(name=OUTPUT, dtype=DType.FLOAT32, shape=(-1, CLASSES)),),
)
VARIANTS = ("tflite:float32", "tflite:int8", "onnx:float32")
OLDEST_ENGINE = "0.1.5.0"  # TensorFlow Lite 1.5: these files run in every engine that edgemm takes
_INT8_INPUT = Affine(2 / 255, 0)  # for inputs in [−1, 1]


@dataclass(frozen=True)
class Dense:
    """The weights of one tiny model."""

    kernel: Floats
    bias: Floats

    @classmethod
    def random(cls, seed: int) -> Dense:
        """Return weights that follow from `seed`."""
        random = np.random.default_rng(seed)
        return cls(random.normal(size=(FEATURES, CLASSES)).astype(np.float32), random.normal(size=CLASSES).astype("f4"))

    def scrambled(self) -> Dense:
        """Return the same weights in another order."""
        return Dense(np.ascontiguousarray(self.kernel[::-1, ::-1]), np.ascontiguousarray(self.bias[::-1]))

    def predict(self, x: Floats) -> Floats:
        """Compute the scores by NumPy; x is float32[batch, 4]."""
        return (x @ self.kernel + self.bias).astype(np.float32)

    @property
    def int8_output(self) -> Affine:
        """The output quantization that covers every input in [−1, 1]."""
        largest = float((np.abs(self.kernel).sum(axis=0) + np.abs(self.bias)).max())
        return Affine(2 * largest / 254, 3)

    @property
    def int8_error(self) -> float:
        """A bound on the int8 variant's error for inputs in [−1, 1]: half steps of input and weights, two of output."""
        weight_step = float(np.abs(self.kernel).max()) / 127
        into = float(np.abs(self.kernel).sum(axis=0).max()) * _INT8_INPUT.scale / 2
        return into + FEATURES * weight_step / 2 + 2 * self.int8_output.scale


def model_file(dense: Dense, variant_id: str, *, batch: int = -1) -> bytes:
    """Return the file of one of `VARIANTS`; `batch` is what the file itself says, −1 for variable."""
    match variant_id:
        case "tflite:float32":
            return tflite.dense_float32(dense.kernel, dense.bias, batch=batch)
        case "tflite:int8":
            return tflite.dense_int8(dense.kernel, dense.bias, into=_INT8_INPUT, out=dense.int8_output, batch=batch)
        case "onnx:float32":
            return onnx_file(dense, batch=batch)
    raise AssertionError(variant_id)


def onnx_file(dense: Dense, *, batch: int = -1) -> bytes:
    """Return `x @ kernel + bias` as an ONNX model."""
    length: int | str = "batch" if batch == -1 else batch
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["input", "kernel", "bias"], ["output"])],
        "dense",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [length, FEATURES])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [length, CLASSES])],
        [numpy_helper.from_array(dense.kernel, "kernel"), numpy_helper.from_array(dense.bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def make_variant(
    dense: Dense, variant_id: str, *, blob: str, batch: int = -1, minimum_engine: str = OLDEST_ENGINE
) -> Variant:
    """Return the manifest's entry for a file made by `model_file`."""
    engine, precision = variant_id.split(":")
    int8 = precision == "int8"
    names = (tflite.INPUT, tflite.OUTPUT) if engine == "tflite" else ("input", "output")
    affines = (_INT8_INPUT, dense.int8_output)
    tensors = [
        VariantTensor(
            name=spec.name,
            tensor=name,
            dtype=DType.INT8 if int8 else DType.FLOAT32,
            shape=(batch, *spec.shape[1:]),
            quantization=Quantization(scale=affine.scale, zero_point=affine.zero_point) if int8 else None,
        )
        for spec, name, affine in zip((*SIGNATURE.inputs, *SIGNATURE.outputs), names, affines, strict=True)
    ]
    return Variant(
        id=variant_id,
        engine=Engine(engine),
        precision=Precision(precision),
        minimum_engine=minimum_engine,
        blob=blob,
        inputs=(tensors[0],),
        outputs=(tensors[1],),
    )


def make_manifest(
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    seed: int = 0,
    variants: Sequence[str] = VARIANTS,
    scramble: bool = False,
    samples: int = 8,
    batch: int = -1,
    labels: tuple[str, ...] | None = ("ant", "bee", "cat"),
    minimum_engine: str = OLDEST_ENGINE,
) -> tuple[Manifest, dict[str, bytes]]:
    """Return a manifest and its blobs by digest."""
    dense = Dense.random(seed)
    files = {v: model_file(dense.scrambled() if scramble else dense, v, batch=batch) for v in variants}
    x = np.random.default_rng(seed + 1).uniform(-1, 1, size=(samples, 1, FEATURES)).astype(np.float32)
    y = np.stack([dense.predict(sample) for sample in x])
    contents = [*files.values(), write_npy(x), write_npy(y)]
    blobs = {hashlib.sha256(data).hexdigest(): data for data in contents}
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    limits = {"float32": 1e-4, "int8": dense.int8_error}
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        minimum_runtime="0.1.0",
        signature=SIGNATURE,
        variants=tuple(
            make_variant(dense, v, blob=digest, batch=batch, minimum_engine=minimum_engine)
            for v, digest in zip(variants, digests, strict=False)
        ),
        golden=GoldenSamples(
            samples=samples,
            inputs={INPUT: digests[-2]},
            outputs={OUTPUT: digests[-1]},
            tolerance={v: {OUTPUT: Tolerance(max_abs=limits[v.split(":")[1]])} for v in variants},
        ),
        parity=(),
        lineage=Lineage(
            source_name="tiny.keras",
            source_digest=hashlib.sha256(f"{name} {version} {seed}".encode()).hexdigest(),
            source_format="keras",
            libraries={"numpy": np.__version__},
            options={},
        ),
        blobs={digest: Blob(size=len(data), media_type="application/octet-stream") for digest, data in blobs.items()},
        labels=labels,
    )
    return manifest, blobs


def make_bundle(
    path: Path,
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    seed: int = 0,
    variants: Sequence[str] = VARIANTS,
    scramble: bool = False,
    samples: int = 8,
    batch: int = -1,
    labels: tuple[str, ...] | None = ("ant", "bee", "cat"),
    minimum_engine: str = OLDEST_ENGINE,
) -> Manifest:
    """Write a bundle file and return its manifest."""
    manifest, blobs = make_manifest(
        name=name, version=version, seed=seed, variants=variants, scramble=scramble, samples=samples, batch=batch,
        labels=labels, minimum_engine=minimum_engine,
    )  # fmt: skip
    write_bundle(path, manifest, blobs)
    return manifest
