"""A small, well-formed bundle whose blobs are no real model: the container does not care."""

from pathlib import Path
from typing import Any

from edgemm import canonical
from edgemm.bundle import write_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import (
    FORMAT,
    Blob,
    Drop,
    DType,
    Evaluation,
    GoldenSamples,
    Lineage,
    Manifest,
    OutputParity,
    Parity,
    Precision,
    Preprocessing,
    Quantization,
    ReferenceProfile,
    Resize,
    Signature,
    TensorProfile,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)

CONTENT = {name: f"content of {name}".encode() for name in ("int8", "float32", "x", "y", "edges", "counts", "card")}
DIGEST = {name: canonical.sha256(data) for name, data in CONTENT.items()}


def small_manifest(**changes: Any) -> Manifest:
    """Return a manifest in which every kind of field is used."""

    def tensor(name: str, *, dtype: DType, shape: tuple[int, ...], quantization: Quantization | None) -> VariantTensor:
        return VariantTensor(name=name, tensor=f"{name}:0", dtype=dtype, shape=shape, quantization=quantization)

    def variant(precision: Precision, dtype: DType, quantization: Quantization | None) -> Variant:
        return Variant(
            id=f"tflite:{precision}",
            engine=Engine.TFLITE,
            precision=precision,
            minimum_engine="2.0",
            blob=DIGEST[precision],
            inputs=(tensor("x", dtype=dtype, shape=(1, 8), quantization=quantization),),
            outputs=(tensor("y", dtype=dtype, shape=(1, 2), quantization=quantization),),
        )

    profile = TensorProfile(edges=DIGEST["edges"], counts=DIGEST["counts"])
    figures = OutputParity(
        name="y", max_abs=1e-7, mean_abs=1e-8, range=1.0, relative=1e-7, cosine=1.0, argmax_agreement=1.0
    )
    fields: dict[str, Any] = {
        "format": FORMAT,
        "name": "digits",
        "version": "1.0.0",
        "minimum_runtime": "0.1.0",
        "signature": Signature(
            inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 8)),),
            outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(-1, 2)),),
        ),
        "variants": (
            variant(Precision.INT8, DType.INT8, Quantization(scale=0.00390625, zero_point=-128)),
            variant(Precision.FLOAT32, DType.FLOAT32, None),
        ),
        "golden": GoldenSamples(
            samples=3,
            inputs={"x": DIGEST["x"]},
            outputs={"y": DIGEST["y"]},
            tolerance={
                "tflite:int8": {"y": Tolerance(max_abs=0.02, min_argmax_agreement=0.9)},
                "tflite:float32": {"y": Tolerance(max_abs=1e-5)},
            },
        ),
        "parity": (
            Parity(variant="tflite:int8", data="random", samples=12, seeds=(0, 1, 2), limit=0.05, outputs=(figures,)),
        ),
        "labels": ("zero", "one"),
        "licence": "Apache-2.0",
        "evaluation": Evaluation(
            metric="accuracy",
            samples=45,
            data="e" * 64,
            source=0.9375,
            variants={"tflite:int8": 0.90625, "tflite:float32": 0.9375},
            drops={"tflite:int8": Drop(value=0.03125, low=-0.0625, high=0.125)},
        ),
        "preprocessing": {"x": Preprocessing(resize=Resize(width=4, height=2), scale=0.00390625, mean=(0.5,))},
        "documents": {"model-card": DIGEST["card"]},
        "reference_profile": ReferenceProfile(
            samples=9, inputs={"x": profile}, outputs={"y": profile}, confidence=profile
        ),
        "lineage": Lineage(
            source_name="digits.keras",
            source_digest="5" * 64,
            source_format="keras3",
            libraries={"tensorflow": "2.21.0"},
            options={"precision": "int8"},
            calibration_digest="c" * 64,
        ),
        "blobs": {
            DIGEST[name]: Blob(size=len(data), media_type="application/octet-stream") for name, data in CONTENT.items()
        },
    }
    return Manifest(**{**fields, **changes})


def small_bundle(path: Path, **changes: Any) -> Manifest:
    """Write the small bundle and return its manifest."""
    manifest = small_manifest(**changes)
    write_bundle(path, manifest, {DIGEST[name]: data for name, data in CONTENT.items()})
    return manifest
