"""The draft of a bundle: judges the measurements, then builds the manifest and writes it with its blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import UNSET

from edgemm.bundle import write_bundle
from edgemm.bundle.engine_facts import facts_of
from edgemm.bundle.manifest import FORMAT, Evaluation, Manifest, Parity
from edgemm.bundle.other_kernels import OtherKernels
from edgemm.monitoring import monitor_document
from edgemm_converter.children.protocol import Exported, SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.drafting import bundle_documents, findings, lineage, minimum_runtime, saturation
from edgemm_converter.job import source_artifact, targets, variant_plan
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.judging import assembly, evaluation, golden_assembly, joined
from edgemm_converter.judging.assembly import BlobStore, Measured
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.verify.parent import EngineRun

_CALLED = {kind: f"{kind} data" for kind in (SetKind.CALIBRATION, SetKind.EVALUATION)}
_PLAIN_BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Draft:
    """A bundle that is not yet where the user wants it."""

    path: Path
    manifest: Manifest
    digest: str
    content: Mapping[str, bytes]
    """Its blobs, by digest."""


def draft(given: ConversionJob, exported: Exported, ran: EngineRun, folder: Path) -> Draft:
    """Judge what the variants answered, and write a bundle of them into `folder`.

    Raises:
        ParityError: a variant computes something else than the source.
        AccuracyError: a variant is worse than the source by more than was allowed.
        InputError: labels do not fit the model.
    """
    parity = _parity(given, ran)
    blobs = BlobStore()
    for variant in ran.variants:
        facts = facts_of(variant.engine)
        blobs.add(ran.files[variant.id].read_bytes(), facts.media_type if facts is not None else _PLAIN_BYTES)
    manifest = _manifest(given, exported, ran, blobs, parity=parity)
    if given.max_drop is not None and manifest.evaluation is not None:
        findings.check_drops(manifest.evaluation, max_drop=given.max_drop)
    manifest = msgspec.structs.replace(manifest, minimum_runtime=minimum_runtime.of(manifest))
    manifest = msgspec.structs.replace(manifest, documents=bundle_documents.add(manifest, blobs), blobs=blobs.listed)
    path = folder / "draft.edgemm"
    return Draft(path, manifest, write_bundle(path, manifest, blobs.content), blobs.content)


def with_monitor(found: Draft, document: bytes | None) -> Draft:
    """Return a draft with the document by which its model is monitored, where there is one."""
    if document is None:
        return found
    blobs = BlobStore(dict(found.content), dict(found.manifest.blobs))
    digest = blobs.add(document, monitor_document.MEDIA_TYPE)
    documents = {**found.manifest.documents, monitor_document.NAME: digest}
    manifest = msgspec.structs.replace(found.manifest, documents=documents, blobs=blobs.listed)
    written = write_bundle(found.path, manifest, blobs.content)
    return replace(found, manifest=manifest, digest=written, content=blobs.content)


def with_other_kernels(found: Draft, others: OtherKernels | None) -> Draft:
    """Return a draft with the tolerances of its golden samples for other kernels, where they were measured."""
    if others is None:
        return found
    golden = msgspec.structs.replace(found.manifest.golden, other_kernels=others)
    manifest = msgspec.structs.replace(found.manifest, golden=golden)
    return replace(found, manifest=manifest, digest=write_bundle(found.path, manifest, found.content))


def labelled(given: ConversionJob) -> tuple[str, ...]:
    """Return a line on each output that labels are of, where it is not scores along the last axis."""
    return tuple(
        f"labels are of output {one.output!r}: {one.kind}"
        + (f" along axis {one.axis}, from {one.first or 0} on" if one.axis is not UNSET else "")
        for one in given.labels_of
    )


def warnings(given: ConversionJob, manifest: Manifest, ran: EngineRun) -> tuple[str, ...]:
    """Return what a user should know before trusting the figures."""
    by_sample = joined.of_data(map(assembly.by_sample, ran.measured))
    inputs = {kind: measured.inputs for kind, measured in by_sample.items()}
    calibration, calibrated = inputs.get(SetKind.CALIBRATION), _calibrated(given, manifest)
    data = {called: inputs[kind] for kind, called in _CALLED.items() if kind in inputs}
    answers = {called: by_sample[kind].source for kind, called in _CALLED.items() if kind in by_sample}
    cut_off = saturation.warnings(
        manifest.variants, data, calibration=calibration, calibrated=calibrated, outputs=answers
    )
    others = findings.warnings(
        calibration=calibration,
        evaluated=inputs.get(SetKind.EVALUATION),
        evaluation=manifest.evaluation,
        max_drop=given.max_drop,
        calibrated=calibrated,
        floats=ran.floats,
        compared=_compared(given, ran),
    )
    return (*cut_off, *others)


def _compared(given: ConversionJob, ran: EngineRun) -> list[Mapping[str, Array]]:
    """Return the source's outputs on which variants were judged; a finished file is not compared with anything."""
    if targets.is_finished(given.format):
        return []
    return [m.source for m in ran.measured if m.set.kind in (SetKind.RANDOM, SetKind.CALIBRATION)]


def _calibrated(given: ConversionJob, manifest: Manifest) -> list[str]:
    """Return the variants whose ranges come from the calibration data; a finished file brings its own."""
    if targets.is_finished(given.format):
        return []
    return [v.id for v in manifest.variants if v.precision in variant_plan.CALIBRATED]


def _parity(given: ConversionJob, ran: EngineRun) -> tuple[Parity, ...]:
    """Judge every variant: one that computes something else ends the conversion, asked for by name or not.

    A finished file is its own source, and in parity with itself.
    """
    if targets.is_finished(given.format):
        return ()
    found = assembly.compared(ran.variants, ran.measured)
    assembly.judge_edges(ran.variants, ran.measured)
    return found


def _manifest(
    given: ConversionJob, exported: Exported, ran: EngineRun, blobs: BlobStore, *, parity: tuple[Parity, ...]
) -> Manifest:
    by_kind = {m.set.kind: m for m in reversed(ran.measured)}
    scored = _evaluation(given, ran, by_kind.get(SetKind.EVALUATION))
    calibration = by_kind.get(SetKind.CALIBRATION)
    random = by_kind[SetKind.RANDOM]
    golden = golden_assembly.golden_samples(
        ran.variants, calibration or random, blobs, edge=by_kind.get(SetKind.EDGE), otherwise=random,
        sequence=given.stateful,
    )  # fmt: skip
    profiled = joined.of_data(ran.measured).get(SetKind.CALIBRATION)
    profile = assembly.reference_profile(profiled, exported.signature, blobs) if profiled else None
    return Manifest(
        format=FORMAT,
        name=given.name,
        version=given.version,
        minimum_runtime=minimum_runtime.FIRST,
        signature=exported.signature,
        variants=ran.variants,
        golden=golden,
        parity=parity,
        lineage=lineage.of(given),
        blobs=blobs.listed,
        labels=given.labels,
        labels_of=given.labels_of or UNSET,
        preprocessing=given.preprocessing or None,
        licence=given.licence,
        evaluation=scored,
        reference_profile=profile,
        created=lineage.created(),
        stateful=given.stateful or UNSET,
    )


def asked(given: ConversionJob, data: Measured | None) -> MetricQuestion | None:
    """Return what is asked of the evaluation data; None where there are none.

    Raises:
        InputError: labels or outputs do not fit the metric.
    """
    if given.evaluation is None or data is None:
        return None
    data = assembly.by_sample(data)
    return evaluation.question(
        given.metric, given.evaluation.labels, inputs=data.inputs, outputs=data.source, output=given.evaluated_output,
        path=str(given.evaluation.path),
    )  # fmt: skip


def _evaluation(given: ConversionJob, ran: EngineRun, data: Measured | None) -> Evaluation | None:
    question = asked(given, data)
    if given.evaluation is None or data is None or question is None:
        return None
    data = assembly.by_sample(data)
    return assembly.evaluated(ran.variants, data, question, digest=source_artifact.digest(given.evaluation.path))
