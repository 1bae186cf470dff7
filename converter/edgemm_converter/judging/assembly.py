"""The assembly of a manifest's measured parts: parity, golden samples, evaluation and reference profile. Pure.

Its input is the measurements of the child processes. It collects the blobs that these parts name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from edgemm import canonical
from edgemm.bundle.manifest import (
    Blob,
    Evaluation,
    GoldenSamples,
    OutputParity,
    Parity,
    Precision,
    ReferenceProfile,
    Signature,
    TensorProfile,
    Variant,
)
from edgemm_converter.children import samples
from edgemm_converter.children.protocol import SampleSet, SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import golden_tolerance, parity
from edgemm_converter.judging import reference_profile as profile
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_runtime.tensors.npy import write_npy

NPY = "application/x-npy"
Outputs: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Measured:
    """One sample set, its inputs, the source's outputs and each variant's; arrays are [runs, …] by tensor name."""

    set: SampleSet
    inputs: Outputs
    source: Outputs
    variants: Mapping[str, Outputs]


@dataclass(frozen=True)
class BlobStore:
    """Blobs by digest, as they are collected for a bundle."""

    content: dict[str, bytes] = field(default_factory=dict)
    listed: dict[str, Blob] = field(default_factory=dict)

    def add(self, data: bytes, media_type: str) -> str:
        """Keep a blob and return its digest."""
        digest = canonical.sha256(data)
        self.content[digest] = data
        self.listed[digest] = Blob(size=len(data), media_type=media_type)
        return digest

    def add_array(self, array: Array) -> str:
        """Keep an array as a `.npy` blob and return its digest."""
        return self.add(write_npy(array), NPY)


def compared(variants: Iterable[Variant], sets: Iterable[Measured]) -> tuple[Parity, ...]:
    """Return how far each variant is from the source on each set, all within their limits.

    Noise says nothing of a quantized variant that was calibrated with real data: there it is recorded, not judged.

    Raises:
        ParityError: an output is over its limit, or not a number.
    """
    judged_on = [m for m in sets if m.set.kind in (SetKind.RANDOM, SetKind.CALIBRATION)]
    real = any(m.set.kind is SetKind.CALIBRATION for m in judged_on)
    return tuple(
        _compare(
            variant, measured, judged=not (real and measured.set.kind is SetKind.RANDOM and _is_quantized(variant))
        )
        for variant in variants
        for measured in judged_on
    )


def golden_samples(variants: Iterable[Variant], measured: Measured, blobs: BlobStore) -> GoldenSamples:
    """Return some runs of a set as the golden samples, with tolerances for each variant."""
    chosen = samples.golden_runs(measured.set.runs)
    source = {name: array[chosen] for name, array in measured.source.items()}
    return GoldenSamples(
        samples=len(chosen),
        inputs={name: blobs.add_array(array[chosen]) for name, array in measured.inputs.items()},
        outputs={name: blobs.add_array(array) for name, array in source.items()},
        tolerance={
            v.id: golden_tolerance.tolerances(
                v, source, {n: a[chosen] for n, a in measured.variants[v.id].items()}, noise=measured.set.noise
            )
            for v in variants
        },
    )


def evaluated(variants: Iterable[Variant], measured: Measured, asked: MetricQuestion, *, digest: str) -> Evaluation:
    """Return the metric of the source and of each variant on labelled data, and how much worse each variant is.

    Raises:
        InputError: the labels do not fit the outputs.
    """
    found = list(variants)
    return Evaluation(
        metric=asked.metric,
        samples=measured.set.samples,
        data=digest,
        source=asked.score(measured.source),
        variants={v.id: asked.score(measured.variants[v.id]) for v in found},
        drops={v.id: asked.drop(measured.source, measured.variants[v.id]) for v in found},
    )


def reference_profile(measured: Measured, signature: Signature, blobs: BlobStore) -> ReferenceProfile:
    """Return how inputs, outputs and confidence spread over the calibration data."""
    certain = parity.distributions(measured.source)
    return ReferenceProfile(
        samples=measured.set.samples,
        inputs={s.name: _profile(measured.inputs[s.name], blobs) for s in signature.inputs},
        outputs={s.name: _profile(measured.source[s.name], blobs) for s in signature.outputs},
        confidence=_profile(profile.confidence(measured.source[certain[0]]), blobs) if certain else None,
    )


def _is_quantized(variant: Variant) -> bool:
    return variant.precision not in (Precision.FLOAT32, Precision.FLOAT16)


def _compare(variant: Variant, measured: Measured, *, judged: bool) -> Parity:
    limit, found = parity.LIMITS[variant.precision], measured.variants[variant.id]
    data = str(measured.set.kind)
    parity.check_finite(found, whose=variant.id, data=data)
    steps = {t.name: t.quantization.scale for t in variant.outputs if t.quantization is not None}
    outputs: list[OutputParity] = []
    shares: list[float] = []
    for name, source in measured.source.items():
        parity.check_shape(variant.id, name, source=source, found=found[name])
        outputs.append(parity.compare(name, source, found[name]))
        noise = measured.set.noise.get(name, 0.0)
        shares.append(parity.allowed_share(limit, source, step=steps.get(name, 0.0), noise=noise))
        if judged:
            parity.judge(
                variant.id, outputs[-1], statistic=limit.statistic, share=shares[-1], source=source, noise=noise,
                data=data,
            )  # fmt: skip
    return Parity(
        variant=variant.id,
        data=_described(measured.set),
        samples=measured.set.samples,
        seeds=measured.set.seeds,
        limit=max(shares) if judged else None,
        outputs=tuple(outputs),
        statistic=limit.statistic,
    )


def _described(given: SampleSet) -> str:
    return str(given.kind) if given.kind is not SetKind.RANDOM else f"random, batch {given.samples // given.runs}"


def _profile(values: Array, blobs: BlobStore) -> TensorProfile:
    found = profile.histogram(values)
    return TensorProfile(edges=blobs.add_array(found.edges), counts=blobs.add_array(found.counts))
