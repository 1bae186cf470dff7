"""A conversion from end to end: check what was given, export, verify in the device's engines, write the bundle.

    result = convert("digits.keras", calibration="digits-samples.npz")
    print(result.path, result.digest)

The bundle appears only when every variant was found to compute what the source does; nothing is left otherwise.
TensorFlow and the engines run in child processes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemm import durable
from edgemm.bundle import write_bundle
from edgemm.errors import ConversionError, EnvironmentFailure, InputError, SelfTestError
from edgemm.manifest import FORMAT, Engine, Lineage, Manifest, Precision, Variant, check_model_name
from edgemm.versions import Version
from edgemm_converter import arrays, assembly, evaluation, extras, labels, lineage, naming, plan, source
from edgemm_converter.assembly import BlobStore, Measured
from edgemm_converter.child import ChildLimits, Progress, run_child
from edgemm_converter.plan import VariantPlan
from edgemm_converter.protocol import (
    Exported,
    ExportRequest,
    Ran,
    RunRequest,
    SelfTestRequest,
    SetKind,
    SourceFormat,
)

MINIMUM_RUNTIME = "0.1.0"
_EXPORT_WORKER, _ENGINE_WORKER = "edgemm_converter.export_worker", "edgemm_converter.engine_worker"
_MEDIA_TYPES = {Engine.TFLITE: "application/x-tflite", Engine.ONNX: "application/onnx"}


@dataclass(frozen=True)
class ConversionResult:
    """A bundle that was written."""

    path: Path
    manifest: Manifest
    digest: str
    """The bundle's identity."""


@dataclass(frozen=True)
class _Job:
    """What was asked for, checked."""

    source: Path
    format: SourceFormat
    output: Path
    name: str
    version: str
    plans: tuple[VariantPlan, ...]
    calibration: Path | None
    evaluation: Path | None
    labels: tuple[str, ...] | None
    custom_objects: tuple[str, ...]
    allow_lambda: bool
    licence: str | None


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
    evaluation: str | Path | None = None,
    licence: str | None = None,
    limits: ChildLimits | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Turn a trained Keras model into a verified bundle.

    Args:
        source: A Keras 3 `.keras` or `.h5` file, or the folder of an exported SavedModel.
        output: The bundle to write; `NAME-VERSION.edgemm` in the current folder by default.
        name: The model's name; made from the source's file name by default.
        version: The model's semantic version.
        targets: `tflite` and `onnx`; both by default.
        precisions: `float32`, `float16`, `int8`, `int8-dynamic`; float32 by default, and int8 with `calibration`.
        calibration: A `.npz` or `.npy` of real inputs, one array or one for each input; of more than 512 samples,
            512 that are spread evenly are used.
        labels: Names of the classes, or a file of them.
        custom_objects: Modules to import in the child for custom layers: `MODULE` or `MODULE:NAME`.
        allow_lambda: Run Lambda layers, which are Python code in the model file.
        evaluation: A `.npz` of inputs and `labels`, on which the accuracy of each variant is measured.
        licence: The model's licence, as text.
        limits: What each child process may take.
        progress: Called with the name of each stage as it begins.

    Raises:
        InputError: what was given can never work.
        MissingExtraError: the converter's libraries are not installed.
        ConversionError: the model cannot be converted, or was, and computes something else (ParityError).
        EnvironmentFailure: the disk is full or the output not writable.
    """
    given = _job(
        Path(source), output=output, name=name, version=version, targets=targets, precisions=precisions,
        calibration=calibration, labels_given=labels, custom_objects=custom_objects, allow_lambda=allow_lambda,
        evaluation_file=evaluation, licence=licence,
    )  # fmt: skip
    announce = progress or _silent
    extras.require()
    with _temporary_folder() as folder:
        return _convert(given, folder, limits=limits or ChildLimits(), progress=announce)


def _job(
    path: Path,
    *,
    output: str | Path | None,
    name: str | None,
    version: str,
    targets: Sequence[str],
    precisions: Sequence[str],
    calibration: str | Path | None,
    labels_given: str | Path | Sequence[str] | None,
    custom_objects: Sequence[str],
    allow_lambda: bool,
    evaluation_file: str | Path | None,
    licence: str | None,
) -> _Job:
    """Check all that can be checked before anything heavy starts."""
    kind = source.detect(path)
    model = check_model_name(name) if name is not None else naming.model_name(path)
    target = Path(output) if output is not None else Path(naming.bundle_file(model, Version(version).text))
    _check_output(target)
    for data in (calibration, evaluation_file):
        if data is not None:
            arrays.read(Path(data))
    if isinstance(labels_given, (str, Path)):
        labels_given = labels.read(Path(labels_given))
    return _Job(
        source=path,
        format=kind,
        output=target,
        name=model,
        version=Version(version).text,
        plans=plan.plan(targets=targets, precisions=precisions, calibrated=calibration is not None),
        calibration=Path(calibration).resolve() if calibration is not None else None,
        evaluation=Path(evaluation_file).resolve() if evaluation_file is not None else None,
        labels=tuple(labels_given) if labels_given is not None else None,
        custom_objects=tuple(custom_objects),
        allow_lambda=allow_lambda,
        licence=licence,
    )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgemm-convert-")
    except OSError as err:
        raise EnvironmentFailure(f"cannot make a temporary folder: {err.strerror or err}; set TMPDIR to one") from err
    with folder as name:
        yield Path(name)


def _check_output(path: Path) -> None:
    """Find out before minutes of work whether the bundle can be written."""
    if path.is_dir():
        raise InputError(f"output {path}: expected a file to write, found a folder")
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "is not writable" if folder.is_dir() else "does not exist"
        raise EnvironmentFailure(f"cannot write {path}: the folder {folder} {why}; give another --output")


def _convert(job: _Job, folder: Path, *, limits: ChildLimits, progress: Progress) -> ConversionResult:
    exported = run_child(_EXPORT_WORKER, _export_request(job), folder=folder, limits=limits, progress=progress)
    assert isinstance(exported, Exported)
    if job.labels is not None:
        labels.check(job.labels, exported.signature)
    blobs = BlobStore()
    variants = _variants(job, exported, folder, blobs)
    request = RunRequest(
        signature=exported.signature,
        variants=variants,
        files={e.id: e.file for e in exported.variants},
        sets=exported.sets,
    )
    ran = run_child(_ENGINE_WORKER, request, folder=folder, limits=limits, progress=progress)
    assert isinstance(ran, Ran)
    progress("comparing with the source model")
    manifest = _manifest(job, exported, variants, _measured(exported, ran, folder), blobs)
    draft = folder / "draft.edgemm"
    digest = write_bundle(draft, manifest, blobs.content)
    _self_test(draft, folder, limits=limits, progress=progress)
    progress(f"writing {job.output}")
    durable.write(job.output, draft.read_bytes())
    return ConversionResult(job.output, manifest, digest)


def _export_request(job: _Job) -> ExportRequest:
    return ExportRequest(
        source=str(job.source.resolve()),
        format=job.format,
        variants=tuple(p.id for p in job.plans),
        calibration=str(job.calibration) if job.calibration else None,
        evaluation=str(job.evaluation) if job.evaluation else None,
        custom_objects=job.custom_objects,
        allow_lambda=job.allow_lambda,
    )


def _variants(job: _Job, exported: Exported, folder: Path, blobs: BlobStore) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            id=planned.id,
            engine=planned.engine,
            precision=Precision(planned.precision),
            minimum_engine=file.minimum_engine,
            blob=blobs.add((folder / file.file).read_bytes(), _MEDIA_TYPES[planned.engine]),
            inputs=file.inputs,
            outputs=file.outputs,
        )
        for planned, file in zip(job.plans, exported.variants, strict=True)
    )


def _measured(exported: Exported, ran: Ran, folder: Path) -> list[Measured]:
    def load(files: dict[str, str]) -> dict[str, arrays.Array]:
        return {name: np.load(folder / file, allow_pickle=False) for name, file in files.items()}

    return [
        Measured(s, load(s.inputs), load(s.outputs), {v: load(sets[s.id]) for v, sets in ran.outputs.items()})
        for s in exported.sets
    ]


def _manifest(
    job: _Job, exported: Exported, variants: tuple[Variant, ...], measured: list[Measured], blobs: BlobStore
) -> Manifest:
    by_kind = {m.set.kind: m for m in measured}
    calibration, scored = by_kind.get(SetKind.CALIBRATION), None
    parity = assembly.compared(variants, measured)
    if job.evaluation is not None:
        data = evaluation.split(arrays.read(job.evaluation), path=str(job.evaluation))
        scored = assembly.evaluated(variants, by_kind[SetKind.EVALUATION], data, digest=source.digest(job.evaluation))
    golden = assembly.golden_samples(variants, by_kind[SetKind.GOLDEN], blobs)
    profile = assembly.reference_profile(calibration, exported.signature, blobs) if calibration else None
    return Manifest(
        format=FORMAT,
        name=job.name,
        version=job.version,
        minimum_runtime=MINIMUM_RUNTIME,
        signature=exported.signature,
        variants=variants,
        golden=golden,
        parity=parity,
        lineage=_lineage(job),
        blobs=blobs.listed,
        labels=job.labels,
        licence=job.licence,
        evaluation=scored,
        reference_profile=profile,
        created=lineage.created(),
    )


def _lineage(job: _Job) -> Lineage:
    options = {
        "variants": ",".join(p.id for p in job.plans),
        "custom_objects": ",".join(job.custom_objects),
        "allow_lambda": str(job.allow_lambda).lower(),
    }
    return Lineage(
        source_name=job.source.resolve().name,
        source_digest=source.digest(job.source),
        source_format=job.format,
        libraries=lineage.library_versions(),
        options=options,
        calibration_digest=source.digest(job.calibration) if job.calibration else None,
        evaluation_digest=source.digest(job.evaluation) if job.evaluation else None,
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
