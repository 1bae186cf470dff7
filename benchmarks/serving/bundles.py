"""Bundles of the benchmark's `.tflite`, made without a converter.

One has the file's own int8 tensors as its signature, one float32, as a converter makes it of a float source."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.protocols import (
    IMAGE,
    IN_ZERO,
    INPUT,
    MODEL,
    OUT_SCALE,
    OUT_ZERO,
    OUTPUT,
    SCORES,
    Int8,
    to_float,
)
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

VARIANT = "tflite:int8"
IN_TENSOR, OUT_TENSOR = "input_1_int8", "Identity_int8"
SAMPLES = 3


def images() -> Int8:
    """Return 3 images of coloured squares, int8[3, 1, 32, 32, 3]: each has another answer."""
    made = []
    for seed in range(SAMPLES):
        random = np.random.default_rng(seed)
        squares = random.integers(0, 256, (1, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
        made.append(np.clip(squares + random.normal(0, 20, IMAGE), 0, 255).astype(np.uint8))
    return (np.stack(made).astype(np.int16) + IN_ZERO).astype(np.int8)


def expected(model: Path) -> Int8:
    """Return what the bare interpreter answers to `images`, int8[3, 1, 10]."""
    classifier = Classifier(str(model))
    return np.stack([classifier.run(image) for image in images()])


def make_int8(path: Path, model: Path) -> Path:
    """Write a bundle whose signature is the file's own int8 tensors."""
    return _write(path, model, DType.INT8)


def make_float32(path: Path, model: Path) -> Path:
    """Write a bundle whose signature is float32 and whose one variant is int8."""
    return _write(path, model, DType.FLOAT32)


def _write(path: Path, model: Path, dtype: DType) -> Path:
    x, y = images(), expected(model)
    if dtype is DType.FLOAT32:
        scores = (y.astype(np.float32) - OUT_ZERO) * np.float32(OUT_SCALE)
        contents = [model.read_bytes(), write_npy(to_float(x)), write_npy(scores)]
    else:
        contents = [model.read_bytes(), write_npy(x), write_npy(y)]
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    manifest = _manifest(dtype, digests, sizes=[len(data) for data in contents])
    write_bundle(path, manifest, dict(zip(digests, contents, strict=True)))
    return path


def _manifest(dtype: DType, digests: list[str], *, sizes: list[int]) -> Manifest:
    raw = dtype is DType.INT8
    into = _tensor(INPUT, IN_TENSOR, IMAGE, None if raw else Quantization(scale=1.0, zero_point=IN_ZERO))
    out = _tensor(OUTPUT, OUT_TENSOR, SCORES, None if raw else Quantization(scale=OUT_SCALE, zero_point=OUT_ZERO))
    tolerance = Tolerance(max_abs=1.0 if raw else OUT_SCALE)
    return Manifest(
        format=FORMAT,
        name=MODEL,
        version="1.0.0",
        minimum_runtime="0.1.0",
        signature=Signature(
            inputs=(TensorSpec(name=INPUT, dtype=dtype, shape=(-1, *IMAGE[1:])),),
            outputs=(TensorSpec(name=OUTPUT, dtype=dtype, shape=(-1, *SCORES[1:])),),
        ),
        variants=(
            Variant(
                id=VARIANT, engine=Engine.TFLITE, precision=Precision.INT8, minimum_engine="1.0", blob=digests[0],
                inputs=(into,), outputs=(out,),
            ),
        ),
        golden=GoldenSamples(
            samples=SAMPLES,
            inputs={INPUT: digests[1]},
            outputs={OUTPUT: digests[2]},
            tolerance={VARIANT: {OUTPUT: tolerance}},
        ),
        parity=(),
        lineage=Lineage(
            source_name="pretrainedResnet_quant.tflite", source_digest=digests[0], source_format="tflite",
            libraries={}, options={},
        ),
        blobs={
            digest: Blob(size=size, media_type="application/octet-stream")
            for digest, size in zip(digests, sizes, strict=True)
        },
    )  # fmt: skip


def _tensor(name: str, tensor: str, shape: tuple[int, ...], quantization: Quantization | None) -> VariantTensor:
    return VariantTensor(
        name=name, tensor=tensor, dtype=DType.INT8, shape=(-1, *shape[1:]), quantization=quantization
    )  # fmt: skip
