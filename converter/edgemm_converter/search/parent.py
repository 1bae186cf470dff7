"""The parent's side of the search for a precision: asks the child process, and adds its result to the variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgemm_converter.children import array_files
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import Exported, SearchRequest, SearchResult, SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import variant_plan
from edgemm_converter.job.job import DEFAULT_MAX_DROP, ConversionJob
from edgemm_converter.judging import assembly, evaluation
from edgemm_converter.judging.assembly import Measured
from edgemm_converter.judging.evaluation import MetricQuestion

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


def with_budget(given: ConversionJob, exported: Exported, folder: Path) -> ConversionJob:
    """Return the job with the drop that `auto` allows where none was given.

    Raises:
        InputError: the labels do not fit the model.
    """
    if not given.search or given.max_drop is not None:
        return given
    budget = _asked(given, exported, folder)[0].budget(DEFAULT_MAX_DROP)
    return replace(given, max_drop=budget)


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
    assert given.max_drop is not None
    asked, outputs = _asked(given, exported, folder)
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


def _asked(given: ConversionJob, exported: Exported, folder: Path) -> tuple[MetricQuestion, Mapping[str, Array]]:
    """Return what is asked of the evaluation data, and the source's outputs on them."""
    labelled = next(s for s in exported.sets if s.kind is SetKind.EVALUATION)
    assert given.evaluation is not None
    inputs, source = (array_files.load(files, folder) for files in (labelled.inputs, labelled.outputs))
    measured = assembly.by_sample(Measured(labelled, inputs, source, {}))
    asked = evaluation.question(
        given.metric, given.evaluation.labels, inputs=measured.inputs, outputs=measured.source,
        output=given.evaluated_output, path=str(given.evaluation.path),
    )  # fmt: skip
    return asked, measured.source
