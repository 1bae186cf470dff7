"""The parent's side of the search for a precision: asks the child process, and adds its result to the variants."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edgemm_converter.children import array_files
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import Exported, SearchRequest, SearchResult, SetKind
from edgemm_converter.job import variant_plan
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.judging import assembly, evaluation
from edgemm_converter.judging.assembly import Measured

_WORKER = "edgemm_converter.search.child"
_TRUTH, _RECONSTRUCTED = "truth.npy", "reconstructed.npy"


def search(
    given: ConversionJob, exported: Exported, folder: Path, *, limits: ChildLimits, progress: Progress
) -> SearchResult:
    """Return what the search settled on, and how it came to it.

    Raises:
        ConversionError: nothing stays within the budget.
        InputError: the labels do not fit the model.
    """
    request = _request(given, exported, folder)
    return run_child(_WORKER, request, answer=SearchResult, folder=folder, limits=limits, progress=progress)


def with_found(exported: Exported, found: SearchResult) -> Exported:
    """Return the exported variants with the one that was found in front."""
    others = [v for v in exported.variants if v.id != found.variant.id]
    return msgspec.structs.replace(exported, variants=(found.variant, *others))


def wanted(given: ConversionJob, exported: Exported, found: SearchResult | None) -> Exported:
    """Leave out what was exported only for others to be made of, or compared with."""
    if not given.plans and found is None:  # a finished file
        return exported
    ids = {p.id for p in given.plans} | ({found.variant.id} if found else set())
    return msgspec.structs.replace(exported, variants=tuple(v for v in exported.variants if v.id in ids))


def _request(given: ConversionJob, exported: Exported, folder: Path) -> SearchRequest:
    sets = {s.kind: s for s in exported.sets}
    labelled = sets[SetKind.EVALUATION]
    assert given.evaluation is not None
    assert given.max_drop is not None
    given_inputs, source = (array_files.load(files, folder) for files in (labelled.inputs, labelled.outputs))
    measured = assembly.by_sample(Measured(labelled, given_inputs, source, {}))
    outputs = measured.source
    asked = evaluation.question(
        given.metric, given.evaluation.labels, inputs=measured.inputs, outputs=outputs,
        output=given.evaluated_output, path=str(given.evaluation.path),
    )  # fmt: skip
    asked.score(outputs)
    np.save(folder / _TRUTH, asked.truth)
    if asked.reconstructed is not None:
        np.save(folder / _RECONSTRUCTED, asked.reconstructed)
    return SearchRequest(
        signature=exported.signature,
        floats=next(v for v in exported.variants if v.id == variant_plan.FLOATS.id),
        sets=tuple(s for kind, s in sets.items() if kind is not SetKind.RANDOM),
        metric=given.metric,
        output=asked.output,
        truth=_TRUTH,
        reconstructed=_RECONSTRUCTED if asked.reconstructed is not None else None,
        max_drop=given.max_drop,
        units=exported.units,
    )
