"""The assembly of a manifest's measured parts: parity, evaluation and reference profile. Pure.

Golden samples are another part: `golden_assembly`.

Its input is the measurements of the child processes. It collects the blobs that these parts name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import numpy as np

from edgemm import canonical
from edgemm.bundle.column_figures import ColumnParity
from edgemm.bundle.manifest import (
    Blob,
    DType,
    Evaluation,
    OutputParity,
    Parity,
    Precision,
    ReferenceProfile,
    Signature,
    TensorProfile,
    Variant,
)
from edgemm.errors import ParityError
from edgemm_converter.children.protocol import KnownUnits, SampleSet, SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_units, columns, edges, parity
from edgemm_converter.judging import reference_profile as profile
from edgemm_converter.judging.edge_limits import EdgeRuns, Ordinary
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.npy import write_npy

NPY = "application/x-npy"
JUDGED = (SetKind.RANDOM, SetKind.CALIBRATION)
"""The sets on which variants are compared with their source."""

Outputs: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Measured:
    """One sample set, its inputs, the source's outputs and each variant's; arrays are [runs, …] by tensor name."""

    set: SampleSet
    inputs: Outputs
    source: Outputs
    variants: Mapping[str, Outputs]
    moved: Outputs = field(default_factory=dict)
    """How far rounding alone moves each value of one run's output of the source; of edge inputs, of each run's."""

    units: Mapping[str, KnownUnits] = field(default_factory=dict)
    """What is known of the units of outputs."""

    def rounding(self, name: str) -> Array:
        """Return how far rounding moves each value of one run's output; of edge inputs, of each run's."""
        shape = self.source[name].shape[1:]
        return np.maximum(self.moved.get(name, 0.0), column_units.rounding(self.units.get(name), shape))

    def edge_runs(self) -> EdgeRuns:
        """Return a set of edge inputs as they are judged."""
        moved = {name: self.rounding(name) for name in self.source}
        return EdgeRuns(self.set.names, self.set.families, self.inputs, self.source, moved)

    def ordinary(self) -> Ordinary:
        """Return a set as one by which edge inputs are judged."""
        steps = {name: self.least_step(name) for name in self.source}
        real = self.set.kind is SetKind.CALIBRATION
        return Ordinary(self.inputs, self.source, self.set.noise, steps, self.units, real=real)

    def least_step(self, name: str) -> float:
        """Return to what any engine may round all of an output, 0 where only its magnitude tells."""
        return float(column_units.rounding(self.units.get(name), self.source[name].shape[1:]).min(initial=1.0))


def by_sample(measured: Measured) -> Measured:
    """Return what was measured with a run for each sample, where one run of a fixed batch takes several."""
    rows, count = measured.set.rows, measured.set.samples
    if rows == 1:
        return measured

    def each(values: Outputs) -> Outputs:
        """An output without that batch is the run's, for each of its samples."""
        return {
            name: (
                array.reshape(-1, 1, *array.shape[2:]) if array.shape[1:2] == (rows,) else array.repeat(rows, axis=0)
            )[:count]
            for name, array in values.items()
        }

    variants = {variant: each(outputs) for variant, outputs in measured.variants.items()}
    return Measured(measured.set, each(measured.inputs), each(measured.source), variants)


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
    judged_on = [m for m in sets if m.set.kind in JUDGED]
    return tuple(
        _compare(variant, measured, judged=_is_judged(variant, measured, judged_on))
        for variant in variants
        for measured in judged_on
    )


def faults(variant: Variant, sets: Iterable[Measured], *, whole: bool) -> dict[str, str]:
    """Say of each output what of a quantized variant is off on the sets that it is judged on, where something is.

    It is a column, or the whole where that answers as if it did not know the input; where the mean error of an output
    of one unit is over its limit, only with `whole`: else parity ends the conversion and names the layer. One of
    another shape is not compared.
    """
    judged_on = [m for m in sets if m.set.kind in JUDGED]
    wrong: dict[str, str] = {}
    for measured in (m for m in judged_on if _is_judged(variant, m, judged_on)):
        found = measured.variants[variant.id]
        for name in (n for n, source in measured.source.items() if source.shape == found[n].shape):
            figures = _columns(measured, name, found[name])
            if not figures and (over := _over_limit(variant, measured, name)):
                if whole:
                    wrong.setdefault(name, over)
                continue
            if fault := _fault(variant, measured, name, figures):
                wrong.setdefault(name, fault)
    return wrong


def check_columns(variant: Variant, measured: Measured) -> None:
    """Check the columns of a variant on a set of any kind.

    Raises:
        ParityError: an output has another shape, or a column is off.
    """
    for name, source in measured.source.items():
        found = measured.variants[variant.id][name]
        parity.check_shape(variant.id, name, source=source, found=found)
        if fault := _fault(variant, measured, name, _columns(measured, name, found)):
            raise ParityError(fault)


def judge_edges(variants: Iterable[Variant], sets: Iterable[Measured]) -> None:
    """Compare each variant with the source on the edge inputs, where there are some.

    What is found is judged and not recorded: devices take the range of an output from the parity of a bundle.

    Raises:
        ParityError: a variant answers one of them in another way; names the edge input.
    """
    by_kind = {measured.set.kind: measured for measured in reversed(list(sets))}
    if (measured := by_kind.get(SetKind.EDGE)) is None:
        return
    ordinary = by_kind.get(SetKind.CALIBRATION, by_kind.get(SetKind.RANDOM))
    if ordinary is not None:
        for variant in variants:
            edges.judge(variant, measured.edge_runs(), measured.variants[variant.id], ordinary=ordinary.ordinary())


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
    """Return how inputs, outputs and confidence spread over the calibration data; texts have no bins."""
    certain = parity.distributions(measured.source)
    return ReferenceProfile(
        samples=measured.set.samples,
        inputs={
            s.name: _profile(measured.inputs[s.name], blobs) for s in signature.inputs if s.dtype is not DType.STRING
        },
        outputs={s.name: _profile(measured.source[s.name], blobs) for s in signature.outputs},
        confidence=_profile(profile.confidence(measured.source[certain[0]]), blobs) if certain else None,
    )


def is_quantized(variant: Variant) -> bool:
    """Tell whether integers round a variant's values."""
    return variant.precision not in (Precision.FLOAT32, Precision.FLOAT16)


def _is_judged(variant: Variant, measured: Measured, sets: Iterable[Measured]) -> bool:
    real = any(m.set.kind is SetKind.CALIBRATION for m in sets)
    return not (real and measured.set.kind is SetKind.RANDOM and is_quantized(variant))


def _columns(measured: Measured, name: str, found: Array) -> tuple[ColumnParity, ...]:
    source = measured.source[name]
    return columns.figures(source, found, column_units.spans(source, measured.units.get(name)))


def _over_limit(variant: Variant, measured: Measured, name: str) -> str:
    """Say by how much the whole of one output is over the limit of parity, "" where it is not."""
    source, limit = measured.source[name], parity.LIMITS[variant.precision]
    whole = parity.compare(name, source, measured.variants[variant.id][name])
    noise = measured.set.noise.get(name, 0.0)
    share = parity.allowed_share(limit, source, step=_step(variant, measured, name), noise=noise)
    allowed = share * comparison.scale(source)
    if whole.mean_abs <= allowed:
        return ""
    return (
        f"{variant.id}, output {name!r}: the mean error on {measured.set.kind} data is {whole.mean_abs:.3g}, expected "
        f"at most {allowed:.3g}"
    )


def _step(variant: Variant, measured: Measured, name: str) -> float:
    """Return to what values of an output are rounded: its quantization step, or what rounding makes of any."""
    steps = [t.quantization.scale for t in variant.outputs if t.name == name and t.quantization is not None]
    return max([measured.least_step(name), *steps])


def _fault(variant: Variant, measured: Measured, name: str, figures: tuple[ColumnParity, ...]) -> str | None:
    source, noise = measured.source[name], measured.rounding(name)
    fault = columns.off(variant.precision, source, figures, noise=noise, known=measured.units.get(name))
    if not figures and is_quantized(variant):
        found = measured.variants[variant.id][name]
        fault = columns.off_as_one(source, found, step=_step(variant, measured, name), noise=noise)
    return f"{variant.id}, output {name!r}, {fault} on {measured.set.kind} data" if fault else None


def _compare(variant: Variant, measured: Measured, *, judged: bool) -> Parity:
    limit, found = parity.LIMITS[variant.precision], measured.variants[variant.id]
    data = str(measured.set.kind)
    parity.check_finite(found, whose=variant.id, data=data)
    outputs: list[OutputParity] = []
    shares: list[float] = []
    for name, source in measured.source.items():
        parity.check_shape(variant.id, name, source=source, found=found[name])
        figures = _columns(measured, name, found[name])
        whole = parity.compare(name, source, found[name])
        outputs.append(msgspec.structs.replace(whole, columns=columns.kept(figures) or msgspec.UNSET))
        noise = measured.set.noise.get(name, 0.0)
        shares.append(parity.allowed_share(limit, source, step=_step(variant, measured, name), noise=noise))
        if judged:
            parity.judge(
                variant.id, outputs[-1], statistic=limit.statistic, share=shares[-1], source=source, noise=noise,
                data=data,
            )  # fmt: skip
            if fault := _fault(variant, measured, name, figures):
                raise ParityError(
                    f"{fault}; no bundle was written: leave this variant out with --target or --precision, or give "
                    "each unit an output of its own"
                )
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
