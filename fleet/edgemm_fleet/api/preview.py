"""The preview of a rollout: the devices of each group, and the bytes that each would fetch now. Pure.

It tells what the rollout would do if it started now. The bytes are those of the manifest and of the blobs of one
variant: the first in the plan's order whose engine the device reported, or the first of all where it reported none. A
delta or a blob that is there already makes it less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgemm.bundle.manifest import Manifest, Variant
from edgemm.errors import BadRequestError
from edgemm.messages import Reported
from edgemm.versions import Version
from edgemm_fleet.api.messages import Preview, PreviewGroup
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.rollout.selection import MatchedDevice, select_members


def preview(
    rollout: str,
    plan: RolloutPlan,
    manifest: Manifest,
    *,
    candidates: Sequence[MatchedDevice],
    engines: Mapping[str, frozenset[str]],
) -> Preview:
    """Return what a rollout would do.

    Args:
        rollout: its id, which decides the order of devices.
        plan: its plan.
        manifest: of the version that it rolls out.
        candidates: every device that matches now.
        engines: names of the engines of each device that reported any.
    """
    members: dict[str, MemberState] = {}
    groups = []
    for index in range(len(plan.groups)):
        chosen = select_members(rollout, plan, index, candidates=candidates, members=members)
        members |= dict.fromkeys(chosen, MemberState.COMMITTED)
        size = sum(download_bytes(plan, manifest, engines.get(device)) for device in chosen)
        groups.append(PreviewGroup(devices=tuple(chosen), download_bytes=size))
    lacking = [d for d in members if (found := engines.get(d)) is not None and _variant(plan, manifest, found) is None]
    return Preview(
        matching=len(candidates),
        groups=tuple(groups),
        download_bytes=sum(group.download_bytes for group in groups),
        without_engine=tuple(sorted(lacking)),
    )


def check_installable(plan: RolloutPlan, manifest: Manifest, reports: Sequence[Reported], *, matching: int) -> None:
    """Refuse a plan that every device which matches now would refuse.

    Args:
        plan: the plan.
        manifest: of the version that it rolls out.
        reports: the newest reports of those devices that have reported.
        matching: how many devices match.

    Raises:
        BadRequestError: it would.
    """
    if not reports or len(reports) < matching:
        return  # of those that have not reported nothing is known
    what = f"{plan.model} {plan.version}"
    who = "the device that matches" if matching == 1 else f"all {matching} devices that match"
    needed, newest = Version(manifest.minimum_runtime), max(Version(report.runtime) for report in reports)
    if newest < needed:
        raise BadRequestError(
            f"{what}: needs edgemm {needed}, found {newest} or older on {who}: upgrade edgemm there first"
        )
    if any(_leaves_engines_out(report) for report in reports):
        return
    if all(_variant(plan, manifest, frozenset(report.engines)) is None for report in reports):
        wanted = [variant.id for variant in manifest.variants if plan.variants == "auto" or variant.id in plan.variants]
        found = sorted({engine for report in reports for engine in report.engines})
        raise BadRequestError(
            f"{what}: needs an engine for {', '.join(wanted)}, found {', '.join(found) or 'none'} on {who}: install "
            "one there, or name another variant"
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
