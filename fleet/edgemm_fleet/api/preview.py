"""The preview of a rollout: the devices of each group, and the bytes that each would fetch now. Pure.

It tells what the rollout would do if it started now. The bytes are those of the manifest and of the blobs of one
variant: the first in the plan's order whose engine the device reported, or the first of all where it reported none. A
delta or a blob that is there already makes it less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
