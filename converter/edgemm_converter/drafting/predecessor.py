"""The bundle that a conversion follows (`--parent`): its speed here, and its metric on the same data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Signature
from edgemm.errors import EdgemmError
from edgemm_converter.children.child import ChildLimits, Progress
from edgemm_converter.judging import assembly
from edgemm_converter.judging.assembly import Measured
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.report import parent as measuring
from edgemm_converter.report.facts import Predecessor
from edgemm_converter.verify import parent as running


def measured(
    path: Path,
    signature: Signature,
    data: Measured | None,
    asked: MetricQuestion | None,
    folder: Path,
    *,
    limits: ChildLimits,
    progress: Progress,
) -> Predecessor:
    """Measure the bundle in `path`; its metric on `data`, which `signature` takes, where one is asked for.

    Raises:
        BundleError: it was damaged meanwhile.
    """
    with open_bundle(path) as bundle:
        manifest, digest = bundle.manifest, bundle.digest
        files = {v.id: f"parent-{number}.model" for number, v in enumerate(manifest.variants)}
        for variant in manifest.variants:
            (folder / files[variant.id]).write_bytes(bundle.read(variant.blob))
    progress(f"measuring {manifest.name} {manifest.version}, which this follows")
    speeds = measuring.speeds(path, manifest, limits=limits, progress=progress)
    if asked is None or data is None:
        return Predecessor(manifest, digest, speeds=speeds)
    if manifest.stateful:
        return Predecessor(manifest, digest, speeds=speeds, unmeasured="it is stateful, and the data are no sequence")
    if not _same(manifest.signature, signature):
        return Predecessor(manifest, digest, speeds=speeds, unmeasured="its inputs or outputs are others")
    try:
        answers = running.answers(
            manifest.signature, manifest.variants, files, data.set, folder, limits=limits, progress=progress
        )
        counted = assembly.by_sample(dataclasses.replace(data, variants=answers))
        metric = {variant_id: asked.score(outputs) for variant_id, outputs in counted.variants.items()}
    except EdgemmError as err:
        return Predecessor(manifest, digest, speeds=speeds, unmeasured=str(err))
    return Predecessor(manifest, digest, metric, speeds)


def _same(one: Signature, other: Signature) -> bool:
    """Tell whether both take and give tensors of the same names, types and shapes."""
    return all(
        [(t.name, t.dtype, t.shape) for t in left] == [(t.name, t.dtype, t.shape) for t in right]
        for left, right in ((one.inputs, other.inputs), (one.outputs, other.outputs))
    )
