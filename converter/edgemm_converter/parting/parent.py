"""The parent's side of the search for the layer at which a failed variant starts to differ from its source.

The result is the end of an error message. A quantized variant is compared, layer by layer, with the float file that it
was made from. A float variant is compared with the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgemm import figures
from edgemm.bundle.manifest import Precision
from edgemm.errors import EdgemmError, ParityError
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import (
    WITHOUT_LAYERS,
    Exported,
    ExportedVariant,
    PartedAt,
    PartingRequest,
    SetKind,
)
from edgemm_converter.export import parent as exporting
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.judging import edges, parity
from edgemm_converter.report import parent as reporting
from edgemm_converter.report import report_page

_WORKER = "edgemm_converter.parting.child"
_TOLD, _REPLACED = "the first layer to part", "is in its place"


def where(
    failure: ParityError,
    given: ConversionJob,
    exported: Exported,
    folder: Path,
    *,
    limits: ChildLimits,
    progress: Progress,
) -> str:
    """Say at which layer the variant that a failure is about parts from its source; "" where that is unknown."""
    variant = next((v for v in exported.variants if str(failure).startswith(f"{v.id},")), None)
    if variant is None or edges.ON_EDGE in str(failure):  # the source itself failed, or layers agree on other inputs
        return ""
    return _from_float(variant, exported, folder, limits=limits, progress=progress) or _from_source(
        variant, given, exported, folder, limits=limits, progress=progress
    )


def with_layers(
    left_out: Mapping[str, str], exported: Exported, folder: Path, *, limits: ChildLimits, progress: Progress
) -> dict[str, str]:
    """Return why variants are left out, with the layer at which each parts from the float file, where that is told."""
    known = {v.id: v for v in exported.variants}

    def told(variant: str, reason: str) -> str:
        if variant not in known or _TOLD in reason or _REPLACED in reason:
            return ""
        return _from_float(known[variant], exported, folder, limits=limits, progress=progress)

    return {variant: f"{reason}{told(variant, reason)}" for variant, reason in left_out.items()}


def _from_float(
    variant: ExportedVariant, exported: Exported, folder: Path, *, limits: ChildLimits, progress: Progress
) -> str:
    found = reporting.layers(exported, folder, limits=limits, progress=progress).get(variant.id)
    chart = report_page.charted("", found) if found else None
    if chart is None or chart.first is None:
        return ""
    guilty = f"; {chart.guilty.name} adds most, {figures.share(chart.guilty.own)}" if chart.guilty else ""
    return f"; the first layer to part from float32 is {chart.first.name} ({figures.share(chart.first.error)}){guilty}"


def _from_source(
    variant: ExportedVariant,
    given: ConversionJob,
    exported: Exported,
    folder: Path,
    *,
    limits: ChildLimits,
    progress: Progress,
) -> str:
    if given.format in WITHOUT_LAYERS:
        return ""
    samples = next(s for s in exported.sets if s.kind is SetKind.RANDOM)
    limit = parity.LIMITS[Precision(variant.id.partition(":")[2])].relative
    request = PartingRequest(source=exporting.request(given, folder), variant=variant, set=samples, limit=limit)
    try:
        found = run_child(_WORKER, request, answer=PartedAt, folder=folder, limits=limits, progress=progress)
    except EdgemmError as err:
        return f"; which layer it is could not be found ({err})"
    return f"; the first layer to part from the source is {found.layer!r}" if found.layer else ""
