"""The preconditions of an operator's actions on rollouts: a published version, the signed minimum, whom it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from edgemm.errors import BadRequestError, ConflictError, NotFoundError
from edgemm.messages import MAX_MODELS
from edgemm.versions import Version
from edgemm_fleet.records.members import Member
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.rollout.reversal import active_model
from edgemm_fleet.store import Transaction, assignments, devices, models, reported, rollouts

_LOOKED_AT_ONCE = 500


def check_published(tx: Transaction, plan: RolloutPlan) -> None:
    """Refuse a plan of what is not published under its digest; raises `NotFoundError` or `BadRequestError`."""
    version = models.get_offered(tx, plan.model, plan.version)
    if version.digest != plan.digest:
        raise BadRequestError(
            f"{plan.model} {plan.version}: published with sha256 {version.digest[:12]}…, the plan says "
            f"{plan.digest[:12]}…"
        )


def check_minimum(tx: Transaction, plan: RolloutPlan) -> None:
    """Refuse a plan of a version below the signed minimum; raises `BadRequestError`."""
    minimum = _minimum(tx, plan)
    if minimum is not None and Version(plan.version) < minimum:
        raise BadRequestError(
            f"{plan.model} {plan.version}: below {minimum}, the signed minimum version, so every device would refuse "
            f"it; roll out {minimum} or a later one, or have an administrator lower it: edgemm fleet models withdraw "
            f"{plan.model} --minimum-version V"
        )


def check_way_back(tx: Transaction, rollout: Rollout, parts: Iterable[Sequence[Member]]) -> bool:
    """Refuse a roll-back that every device would refuse; one that a few refuse ends for them as failed.

    Args:
        tx: the transaction.
        rollout: the rollout.
        parts: the members that it would give their earlier version, some at a time.

    Returns:
        Whether there is anything to bring back.

    Raises:
        BadRequestError: every device would refuse it.
    """
    plan, minimum = rollout.plan, _minimum(tx, rollout.plan)
    withdrawn_since, low = set[str](), set[str]()
    for part in parts:
        before = [member.previous for member in part]
        withdrawn = models.withdrawn_among(tx, {one.digest for one in before if one})
        gone = {one.version for one in before if one and one.digest in withdrawn}
        below = {one.version for one in before if one and minimum is not None and Version(one.version) < minimum}
        if not all(one and one.version in below | gone for one in before):
            return True
        withdrawn_since, low = withdrawn_since | gone, low | below
    if not (low or withdrawn_since):
        return False
    versions = ", ".join(sorted(low | withdrawn_since, key=Version))
    too_low = f"below {minimum}, the signed minimum version"
    why = " or ".join(filter(None, ("withdrawn since" if withdrawn_since else "", too_low if low else "")))
    raise BadRequestError(
        f"rollout {rollout.id} of {plan.model} {plan.version}: its devices ran {versions} before, {why}, so every "
        f"device would refuse it; roll out {f'{minimum} or a later one' if low else 'another version'}"
    )


def check_room(tx: Transaction, rollout: Rollout, *, now: float) -> None:
    """Refuse a start by which a device of the first group, as far as it is chosen, would get more models than it can.

    Raises:
        ConflictError: one would.
    """
    members = rollouts.prepared_members(tx, rollout.id, groups=[0], limit=_LOOKED_AT_ONCE, now=now)
    ids = [member.device for member in members]
    for device, wanted in assignments.of(tx, ids).items():
        if (number := len(wanted.keys() | {rollout.plan.model})) > MAX_MODELS:
            raise ConflictError(
                f"device {device}: {number} models would be wanted of it, the limit is {MAX_MODELS}: "
                "roll back the first rollout of one that it can do without"
            )


def _minimum(tx: Transaction, plan: RolloutPlan) -> Version | None:
    model = models.find_model(tx, plan.model)
    return Version(model.minimum_version) if model is not None and model.minimum_version is not None else None


def check_reach(tx: Transaction, rollout: Rollout, *, now: float) -> None:
    """Refuse to start what would reach nobody, unless its plan says that it may.

    Raises:
        NotFoundError: a device that it names is not enrolled.
        ConflictError: no device matches, or all that do have this version already.
    """
    plan = rollout.plan
    if plan.allow_empty:
        return
    what = f"rollout {rollout.id} of {plan.model} {plan.version}"
    check_matches(tx, plan, what=what, now=now)
    found = 0
    matching = (device.id for device in devices.matching(tx, plan.selector, model=plan.model, now=now))
    while ids := list(islice(matching, _LOOKED_AT_ONCE)):
        found += len(ids)
        wanted, reports = assignments.of(tx, ids), reported.of(tx, ids)
        for device in ids:
            report = reports[device].reported if device in reports else None
            running = active_model(plan.model, report, None)
            active = running.digest if running is not None else None
            if not plan.tells_nothing_new(wanted.get(device, {}).get(plan.model), active):
                return
    raise _nothing_to_do(what, f"all {found} devices that match have it already")


def check_matches(tx: Transaction, plan: RolloutPlan, *, what: str, now: float) -> None:
    """Refuse a plan for devices that are not there; raises as `RolloutOperations.create`."""
    if unknown := devices.unknown(tx, plan.selector):
        raise NotFoundError(f"{what}: no device {unknown[0]!r} in this fleet: `edgemm fleet devices` lists them")
    if next(iter(devices.matching(tx, plan.selector, model=plan.model, now=now)), None) is None:
        raise _nothing_to_do(what, plan.selector.nobody())


def _nothing_to_do(what: str, why: str) -> ConflictError:
    return ConflictError(
        f"{what}: {why}, so there is nothing to do and nothing was begun; to have that count as done, create it with "
        "--allow-empty (`allow_empty`)"
    )
