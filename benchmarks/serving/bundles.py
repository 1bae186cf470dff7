"""Bundles of the benchmark's `.tflite`, made without a converter.

One has the file's own int8 tensors as its signature, one float32, as a converter makes it of a float source."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.protocols import INPUT, MODEL, OUTPUT
from benchmarks.serving.subjects import SAMPLES, Affine, Int8, Subject
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


def expected(model: Path, subject: Subject) -> Int8:
    """Return what the bare interpreter answers to the samples, int8[3, 1, n]."""
    classifier = Classifier(str(model))
    return np.stack([classifier.run(sample) for sample in subject.samples()])


def make_int8(path: Path, model: Path, subject: Subject) -> Path:
    """Write a bundle whose signature is the file's own int8 tensors."""
    return _write(path, model, subject, DType.INT8)


def make_float32(path: Path, model: Path, subject: Subject) -> Path:
    """Write a bundle whose signature is float32 and whose one variant is int8."""
    return _write(path, model, subject, DType.FLOAT32)


def _write(path: Path, model: Path, subject: Subject, dtype: DType) -> Path:
    x, y = subject.samples(), expected(model, subject)
    if dtype is DType.FLOAT32:
        contents = [model.read_bytes(), write_npy(subject.input.reals(x)), write_npy(subject.output.reals(y))]
    else:
        contents = [model.read_bytes(), write_npy(x), write_npy(y)]
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    manifest = _manifest(subject, dtype, digests, sizes=[len(data) for data in contents])
    write_bundle(path, manifest, dict(zip(digests, contents, strict=True)))
    return path


def _manifest(subject: Subject, dtype: DType, digests: list[str], *, sizes: list[int]) -> Manifest:
    raw = dtype is DType.INT8
    into, out = subject.input, subject.output
    tolerance = Tolerance(max_abs=1.0 if raw else out.scale)
    return Manifest(
        format=FORMAT,
        name=MODEL,
        version="1.0.0",
        minimum_runtime="0.1.0",
        signature=Signature(
            inputs=(TensorSpec(name=INPUT, dtype=dtype, shape=(-1, *into.shape[1:])),),
            outputs=(TensorSpec(name=OUTPUT, dtype=dtype, shape=(-1, *out.shape[1:])),),
        ),
        variants=(
            Variant(
                id=VARIANT, engine=Engine.TFLITE, precision=Precision.INT8, minimum_engine="1.0", blob=digests[0],
                inputs=(_tensor(INPUT, into, raw=raw),),
                outputs=(_tensor(OUTPUT, out, raw=raw),),
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
            source_name=Path(subject.file).name, source_digest=digests[0], source_format="tflite",
            libraries={}, options={},
        ),
        blobs={
            digest: Blob(size=size, media_type="application/octet-stream")
            for digest, size in zip(digests, sizes, strict=True)
        },
    )  # fmt: skip


def _tensor(name: str, found: Affine, *, raw: bool) -> VariantTensor:
    quantization = None if raw else Quantization(scale=found.scale, zero_point=found.zero_point)
    return VariantTensor(
        name=name, tensor=found.tensor, dtype=DType.INT8, shape=(-1, *found.shape[1:]), quantization=quantization
    )
