"""The preview of a rollout: how many devices each group takes, the first of them, and the bytes that they would fetch.

It tells what the rollout would do if it started now. The bytes are those of the manifest and of the blobs of one
variant: the first in the plan's order whose engine the device reported, or the first of all where it reported none. A
delta or a blob that is there already makes it less. Of very many devices the first are looked at, and the bytes of the
others estimated by those. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgemm.bundle.manifest import Manifest, Variant
from edgemm.errors import BadRequestError
from edgemm.messages import Reported
from edgemm.versions import Version
from edgemm_fleet.api.messages import Preview, PreviewGroup
from edgemm_fleet.records.rollout_plan import RolloutPlan

_NAMED = 1000


def preview(
    plan: RolloutPlan,
    manifest: Manifest,
    *,
    matching: int,
    first: Sequence[str],
    engines: Mapping[str, frozenset[str]],
) -> Preview:
    """Return what a rollout would do.

    Args:
        plan: its plan.
        manifest: of the version that it rolls out.
        matching: how many devices match now.
        first: those of them that are looked at, in the order in which groups take them.
        engines: names of the engines of each of these that reported any.
    """
    bytes_of = [download_bytes(plan, manifest, engines.get(device)) for device in first]
    mean = sum(bytes_of) / max(1, len(bytes_of))
    groups, taken = list[PreviewGroup](), 0
    for group in plan.groups:
        size = group.size(matching=matching, taken=taken)
        chosen, known = first[taken : taken + size], bytes_of[taken : taken + size]
        total = sum(known) + round(mean * (size - len(known)))
        groups.append(PreviewGroup(devices=tuple(sorted(chosen)[:_NAMED]), size=size, download_bytes=total))
        taken += size
    lacking = [
        device
        for device in first[:taken]
        if (found := engines.get(device)) is not None and _variant(plan, manifest, found) is None
    ]
    return Preview(
        matching=matching,
        groups=tuple(groups),
        download_bytes=sum(group.download_bytes for group in groups),
        without_engine=tuple(sorted(lacking)[:_NAMED]),
        looked_at=len(first),
    )


def check_installable(plan: RolloutPlan, manifest: Manifest, parts: Iterable[Sequence[Reported | None]]) -> None:
    """Refuse a plan that every device which matches now would refuse; the first that would not ends the look.

    Args:
        plan: the plan.
        manifest: of the version that it rolls out.
        parts: the newest reports of the devices that match, some at a time; None: there is none.

    Raises:
        BadRequestError: every device would refuse it.
    """
    needed, what = Version(manifest.minimum_runtime), f"{plan.model} {plan.version}"
    newest, number, fits, engines = Version("0.0.0"), 0, False, set[str]()
    for part in parts:
        for report in part:
            if report is None:
                return  # of those that have not reported nothing is known
            number += 1
            newest = max(newest, Version(report.runtime))
            engines |= set(report.engines)
            fits |= _leaves_engines_out(report) or _variant(plan, manifest, frozenset(report.engines)) is not None
        if fits and newest >= needed:
            return
    if not number:
        return
    who = "the device that matches" if number == 1 else f"all {number} devices that match"
    if newest < needed:
        raise BadRequestError(
            f"{what}: needs edgemm {needed}, found {newest} or older on {who}: upgrade edgemm there first"
        )
    if not fits:
        wanted = [variant.id for variant in manifest.variants if plan.variants == "auto" or variant.id in plan.variants]
        raise BadRequestError(
            f"{what}: needs an engine for {', '.join(wanted)}, found {', '.join(sorted(engines)) or 'none'} on {who}: "
            "install one there, or name another variant"
        )


def _leaves_engines_out(report: Reported) -> bool:
    """Tell whether a report was too long to name the device's engines: something runs there, and by none."""
    return not report.engines and any(model.active_digest for model in report.models)


def download_bytes(plan: RolloutPlan, manifest: Manifest, engines: frozenset[str] | None) -> int:
    """Return how much one device fetches: manifest, model file and golden samples; 0 where nothing can run."""
    variant = _variant(plan, manifest, engines)
    if variant is None:
        return 0
    return len(manifest.encode()) + sum(manifest.blobs[digest].size for digest in manifest.blobs_for(variant.id))


def _variant(plan: RolloutPlan, manifest: Manifest, engines: frozenset[str] | None) -> Variant | None:
    by_id = {variant.id: variant for variant in manifest.variants}
    order = list(by_id) if plan.variants == "auto" else [name for name in plan.variants if name in by_id]
    for name in order:
        if engines is None or by_id[name].engine in engines:
            return by_id[name]
    return None
