"""A conversion from end to end: check what was given, export, verify in the device's engines, write the bundle.

    result = convert("digits.keras", calibration="digits-samples.npz")
    print(result.path, result.digest)

The bundle appears only when every variant was found to compute what the source does; nothing is left otherwise.
TensorFlow and the engines run in child processes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edgemm import canonical, durable
from edgemm.bundle import write_bundle
from edgemm.errors import ConversionError, EnvironmentFailure, SelfTestError
from edgemm.manifest import FORMAT, Engine, Lineage, Manifest, Parity, Precision, Variant
from edgemm_converter import (
    arrays,
    assembly,
    documents,
    evaluation,
    extras,
    findings,
    job,
    lineage,
    plan,
    reporting,
    searching,
    source,
)
from edgemm_converter import labels as label_file
from edgemm_converter.assembly import BlobStore, Measured
from edgemm_converter.child import ChildLimits, Progress, run_child
from edgemm_converter.datasets import Dataset
from edgemm_converter.evaluation import Question
from edgemm_converter.job import Job
from edgemm_converter.metrics import Metric
from edgemm_converter.protocol import (
    FINISHED,
    Exported,
    ExportRequest,
    Found,
    Ran,
    RunRequest,
    SelfTestRequest,
    SetKind,
    StagedData,
    TrialFacts,
)
from edgemm_converter.report import Facts

MINIMUM_RUNTIME = "0.1.0"
_EXPORT_WORKER, _ENGINE_WORKER = "edgemm_converter.source_worker", "edgemm_converter.engine_worker"
_MEDIA_TYPES = {Engine.TFLITE: "application/x-tflite", Engine.ONNX: "application/onnx"}


@dataclass(frozen=True)
class ConversionResult:
    """A bundle that was written."""

    path: Path
    manifest: Manifest
    digest: str
    """The bundle's identity."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    """Variants that nobody asked for by name and that could not be made, with the reason."""

    warnings: tuple[str, ...] = ()
    """What to know before trusting the figures."""

    trials: tuple[TrialFacts, ...] = ()
    """What the search for a precision evaluated, in order."""


def convert(
    source: str | Path,
    *,
    output: str | Path | None = None,
    name: str | None = None,
    version: str = "0.1.0",
    targets: Sequence[str] = (),
    precisions: Sequence[str] = (),
    calibration: str | Path | None = None,
    labels: str | Path | Sequence[str] | None = None,
    custom_objects: Sequence[str] = (),
    allow_lambda: bool = False,
    signature: str | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    evaluation: str | Path | None = None,
    evaluated_output: str | None = None,
    metric: str = Metric.ACCURACY,
    max_drop: float | None = None,
    preprocess: str | Path | None = None,
    report: str | Path | None = None,
    licence: str | None = None,
    limits: ChildLimits | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Turn a trained Keras model into a verified bundle.

    Args:
        source: A `.keras` or `.h5` file of Keras 2 or 3, the folder of a SavedModel, or a finished `.tflite` or
            `.onnx` file, which is verified and packaged as it is.
        output: The bundle to write; `NAME-VERSION.edgemm` in the current folder by default.
        name: The model's name; made from the source's file name by default.
        version: The model's semantic version.
        targets: `tflite` and `onnx`; both by default.
        precisions: `float32`, `float16`, `int8`, `int8-dynamic`, `int16x8`, `int8-weights`, `int4-weights`, or
            `auto` for the smallest TFLite variant within `max_drop`; float32 by default, and int8 with `calibration`.
        calibration: Real inputs: a `.npz` or `.npy` with one array or one for each input, a CSV, or with `preprocess`
            a folder of images; of more than 512 samples, 512 that are spread evenly are used.
        labels: Names of the classes, or a file of them.
        custom_objects: Modules to import in the child for custom layers: `MODULE` or `MODULE:NAME`.
        allow_lambda: Run Lambda layers, which are Python code in the model file.
        signature: Which signature of a SavedModel or `.tflite` file; `serving_default` or the only one by default.
        input_shapes: Shapes of inputs that the source leaves open, by name; −1 for a dimension that stays variable.
        evaluation: Labelled data, on which each variant is measured: like `calibration`, with an array or column
            `labels`, or with images in folders of classes.
        evaluated_output: Which output the metric is of, where several fit.
        metric: `accuracy`, `f1`, `precision`, `recall`, `mse` or `auc`.
        max_drop: No bundle where a variant's metric is worse than the source's by more; the budget of `auto`, 0.005
            by default there.
        preprocess: A TOML file that says how inputs are made of images or class indices.
        report: Where to write a page of HTML about the conversion.
        licence: The model's licence, as text.
        limits: What each child process may take.
        progress: Called with the name of each stage as it begins.

    Raises:
        InputError: what was given can never work.
        MissingExtraError: the converter's libraries are not installed.
        ConversionError: the model cannot be converted, or was, and computes something else (ParityError), or is worse
            than `max_drop` allows (AccuracyError).
        EnvironmentFailure: the disk is full or the output not writable.
    """
    given = job.check(
        Path(source), output=output, name=name, version=version, targets=targets, precisions=precisions,
        calibration=calibration, labels=labels, custom_objects=custom_objects, allow_lambda=allow_lambda,
        signature=signature, input_shapes=input_shapes, evaluation=evaluation, evaluated_output=evaluated_output,
        metric=metric, max_drop=max_drop, preprocess=preprocess, report=report, licence=licence,
    )  # fmt: skip
    announce = progress or _silent
    extras.require()
    with _temporary_folder() as folder:
        return _convert(given, folder, limits=limits or ChildLimits(), progress=announce)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgemm-convert-")
    except OSError as err:
        raise EnvironmentFailure(f"cannot make a temporary folder: {err.strerror or err}; set TMPDIR to one") from err
    with folder as name:
        yield Path(name)


def _convert(given: Job, folder: Path, *, limits: ChildLimits, progress: Progress) -> ConversionResult:
    exported = run_child(
        _EXPORT_WORKER, _export_request(given, folder), folder=folder, limits=limits, progress=progress
    )
    assert isinstance(exported, Exported)
    if given.labels is not None:
        label_file.check(given.labels, exported.signature)
    found: Found | None = None
    everything = exported
    if given.search:
        found = searching.search(given, exported, folder, limits=limits, progress=progress)
        everything = searching.with_found(exported, found)
    exported = searching.wanted(given, everything, found)
    variants = _variants(exported, folder)
    request = RunRequest(
        signature=exported.signature,
        variants=variants,
        files={e.id: e.file for e in exported.variants},
        sets=exported.sets,
        required=given.required,
    )
    ran = run_child(_ENGINE_WORKER, request, folder=folder, limits=limits, progress=progress)
    assert isinstance(ran, Ran)
    progress("comparing with the source model")
    measured = _measured(exported, ran, folder)
    runnable = tuple(v for v in variants if v.id in ran.outputs)
    parity = _parity(given, runnable, measured)
    blobs = BlobStore()
    for file in exported.variants:
        if file.id in ran.outputs:
            blobs.add((folder / file.file).read_bytes(), _MEDIA_TYPES[Engine(file.id.partition(":")[0])])
    manifest = _manifest(given, exported, measured, blobs, variants=runnable, parity=parity)
    if given.max_drop is not None and manifest.evaluation is not None:
        findings.check_drops(manifest.evaluation, max_drop=given.max_drop)
    manifest = msgspec.structs.replace(manifest, documents=documents.add(manifest, blobs), blobs=blobs.listed)
    draft = folder / "draft.edgemm"
    digest = write_bundle(draft, manifest, blobs.content)
    _self_test(draft, folder, limits=limits, progress=progress)
    left_out = {**exported.left_out, **ran.left_out}
    result = ConversionResult(
        given.output, manifest, digest, left_out, _warnings(given, manifest, measured), found.trials if found else ()
    )
    if given.report is not None:
        page = _report_facts(given, result, everything, draft, limits=limits, progress=progress)
        reporting.write(given.report, page)
    progress(f"writing {given.output}")
    durable.write(given.output, draft.read_bytes())
    return result


def _warnings(given: Job, manifest: Manifest, measured: list[Measured]) -> tuple[str, ...]:
    inputs = {m.set.kind: m.inputs for m in measured}
    return findings.warnings(
        calibration=inputs.get(SetKind.CALIBRATION),
        evaluated=inputs.get(SetKind.EVALUATION),
        evaluation=manifest.evaluation,
        max_drop=given.max_drop,
    )


def _report_facts(
    given: Job, result: ConversionResult, exported: Exported, draft: Path, *, limits: ChildLimits, progress: Progress
) -> Facts:
    return Facts(
        manifest=result.manifest,
        digest=result.digest,
        max_drop=given.max_drop,
        warnings=result.warnings,
        left_out=result.left_out,
        trials=result.trials,
        layers=reporting.layers(exported, draft.parent, limits=limits, progress=progress),
        speeds=reporting.speeds(draft, result.manifest, limits=limits, progress=progress),
        machine=reporting.machine(),
    )


def _export_request(given: Job, folder: Path) -> ExportRequest:
    return ExportRequest(
        source=str(given.source.resolve()),
        format=given.format,
        variants=given.exported_variants,
        calibration=_staged(given.calibration, folder / "calibration.npz"),
        evaluation=_staged(given.evaluation, folder / "evaluation.npz"),
        preprocessing=given.preprocessing,
        custom_objects=given.custom_objects,
        allow_lambda=given.allow_lambda,
        signature=given.signature,
        input_shapes=given.input_shapes,
        required=given.required,
    )


def _staged(data: Dataset | None, file: Path) -> StagedData | None:
    if data is None:
        return None
    data.save(file)
    return StagedData(file=str(file), shown=str(data.path))


def _variants(exported: Exported, folder: Path) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            id=file.id,
            engine=Engine(file.id.partition(":")[0]),
            precision=Precision(file.id.partition(":")[2]),
            minimum_engine=file.minimum_engine,
            blob=canonical.sha256((folder / file.file).read_bytes()),
            inputs=file.inputs,
            outputs=file.outputs,
        )
        for file in exported.variants
    )


def _measured(exported: Exported, ran: Ran, folder: Path) -> list[Measured]:
    def load(files: dict[str, str]) -> dict[str, arrays.Array]:
        return {name: np.load(folder / file, allow_pickle=False) for name, file in files.items()}

    return [
        Measured(s, load(s.inputs), load(s.outputs), {v: load(sets[s.id]) for v, sets in ran.outputs.items()})
        for s in exported.sets
    ]


def _parity(given: Job, variants: Sequence[Variant], measured: list[Measured]) -> tuple[Parity, ...]:
    """Judge every variant: one that computes something else ends the conversion, asked for by name or not.

    A finished file is its own source, and in parity with itself.
    """
    return () if given.format in FINISHED else assembly.compared(variants, measured)


def _manifest(
    given: Job,
    exported: Exported,
    measured: list[Measured],
    blobs: BlobStore,
    *,
    variants: tuple[Variant, ...],
    parity: tuple[Parity, ...],
) -> Manifest:
    by_kind = {m.set.kind: m for m in measured}
    calibration, scored = by_kind.get(SetKind.CALIBRATION), None
    if given.evaluation is not None:
        data = by_kind[SetKind.EVALUATION]
        asked = _question(given, given.evaluation, data)
        scored = assembly.evaluated(variants, data, asked, digest=source.digest(given.evaluation.path))
    golden = assembly.golden_samples(variants, by_kind[SetKind.GOLDEN], blobs)
    profile = assembly.reference_profile(calibration, exported.signature, blobs) if calibration else None
    return Manifest(
        format=FORMAT,
        name=given.name,
        version=given.version,
        minimum_runtime=MINIMUM_RUNTIME,
        signature=exported.signature,
        variants=variants,
        golden=golden,
        parity=parity,
        lineage=_lineage(given),
        blobs=blobs.listed,
        labels=given.labels,
        preprocessing=given.preprocessing or None,
        licence=given.licence,
        evaluation=scored,
        reference_profile=profile,
        created=lineage.created(),
    )


def _question(given: Job, data: Dataset, measured: Measured) -> Question:
    return evaluation.question(
        given.metric, data.labels, inputs=measured.inputs, outputs=measured.source, output=given.evaluated_output,
        path=str(data.path),
    )  # fmt: skip


def _lineage(given: Job) -> Lineage:
    options = {
        "variants": ",".join(p.id for p in given.plans),
        "custom_objects": ",".join(given.custom_objects),
        "allow_lambda": str(given.allow_lambda).lower(),
    }
    if given.search:
        options["precision"] = plan.AUTO
    if given.evaluation is not None:
        options["metric"] = given.metric
    if given.max_drop is not None:
        options["max_drop"] = f"{given.max_drop:g}"
    if given.signature is not None:
        options["signature"] = given.signature
    if given.input_shapes:
        options["input_shapes"] = ";".join(
            f"{n}={','.join(map(str, s))}" for n, s in sorted(given.input_shapes.items())
        )
    return Lineage(
        source_name=given.source.resolve().name,
        source_digest=source.digest(given.source),
        source_format=given.format,
        libraries=lineage.library_versions(),
        options=options,
        calibration_digest=source.digest(given.calibration.path) if given.calibration else None,
        evaluation_digest=source.digest(given.evaluation.path) if given.evaluation else None,
        git_commit=lineage.git_commit(),
    )


def _self_test(draft: Path, folder: Path, *, limits: ChildLimits, progress: Progress) -> None:
    """Do with the finished bundle what every device does."""
    request = SelfTestRequest(bundle=str(draft))
    try:
        run_child(_ENGINE_WORKER, request, folder=folder, limits=limits, progress=progress)
    except SelfTestError as err:
        raise ConversionError(f"the bundle fails its own self-test and was not written: {err}") from err


def _silent(_stage: str) -> None:
    pass
