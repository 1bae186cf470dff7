"""An operator's actions on rollouts; each is one transaction and one line of the audit log.

rollout = operations.create(plan, actor="person:ann")
operations.start(rollout.id, actor="person:ann")
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from itertools import islice

from msgspec.structs import replace

from edgemm.errors import BadRequestError, ConflictError, NotFoundError
from edgemm.requirements import refusal
from edgemm.states import RolloutState
from edgemm.versions import Version
from edgemm_fleet.records.members import Member
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.records import VersionRecord
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.rollout import machine
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.redating import DRAFT_LIFETIME_S
from edgemm_fleet.rollout.reversal import active_model
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.rollout.version_uses import VersionUses, check_unused, end_uses, find_uses
from edgemm_fleet.store import Store, Transaction, assignments, audit, devices, models, reported, rollouts

_LOOKED_AT_ONCE = 500
_R = RolloutState


class RolloutOperations:
    """Acts on rollouts in the store; `wake` is called after each that may have changed what devices are told."""

    def __init__(self, store: Store, runner: Runner, *, wake: Callable[[], None]) -> None:
        self._store, self._runner, self._wake = store, runner, wake

    def create(self, plan: RolloutPlan, *, actor: str, now: float) -> Rollout:
        """Store a plan as a draft, which is canceled by itself when it is not started within 30 days.

        Raises:
            NotFoundError: the version is not published, or a device that the plan names is not enrolled.
            ConflictError: no device matches, and the plan does not say that there may be none; or the version was
                withdrawn.
            BadRequestError: the plan's digest is not that version's, the version is below the signed minimum, or the
                plan needs what is not known here.
        """
        if plan.unknown:
            raise BadRequestError(f"rollout of {plan.model} {plan.version}: it {refusal(plan.unknown)}")
        rollout = Rollout(
            id=f"r-{secrets.token_hex(4)}",
            plan=plan,
            state=_R.DRAFT,
            reason=None,
            created_by=actor,
            created_at=now,
            changed_at=now,
            deadline_at=now + DRAFT_LIFETIME_S,
            groups=(GroupProgress(),) * len(plan.groups),
        )
        with self._store.write() as tx:
            _check_published(tx, plan)
            _check_minimum(tx, plan)
            if not plan.allow_empty:
                _check_matches(tx, plan, what=f"rollout of {plan.model} {plan.version}", now=now)
            rollouts.add(tx, rollout)
            _note(tx, "create", rollout, actor=actor, now=now, detail=f"{plan.model} {plan.version}")
        return rollout

    def start(self, rollout_id: str, *, actor: str, now: float) -> Rollout:
        """Start a draft: its first group is told at once.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it was started before, its plan needs what is not known here, it would reach nobody, another
                rollout has the same model and devices, a device of the first group has no room for another model, or
                the version was withdrawn since.
            BadRequestError: the signed minimum version was raised above this version since.
        """
        with self._store.write() as tx:
            rollout = rollouts.get(tx, rollout_id)
            if unknown := rollout.plan.unknown:
                raise ConflictError(f"rollout {rollout_id}: it {refusal(unknown)}")
            models.get_offered(tx, rollout.plan.model, rollout.plan.version)
            _check_minimum(tx, rollout.plan)
            _check_reach(tx, rollout, now=now)
            started = machine.move(machine.move(rollout, _R.READY, now=now), _R.RUNNING, now=now)
            self._make_way(tx, rollout, actor=actor, now=now)
            rollouts.save(tx, started)
            _note(tx, "start", started, actor=actor, now=now)
            started = self._runner.advance(tx, rollout_id, now=now)
        self._wake()
        return started

    def halt(self, rollout_id: str, *, actor: str, reason: str, now: float) -> Rollout:
        """Stop a running rollout; members that have not begun to activate keep what they run. Again is no error.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it does not run.
        """
        return self._withdraw(rollout_id, _R.HALTED, actor=actor, reason=reason, now=now, act="halt")

    def cancel(self, rollout_id: str, *, actor: str, now: float, reason: str = "canceled") -> Rollout:
        """End a rollout for good, whatever it waits for; as `halt` for its members.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it is over.
        """
        return self._withdraw(rollout_id, _R.CANCELED, actor=actor, reason=reason, now=now, act="cancel")

    def roll_back(self, rollout_id: str, *, actor: str, now: float, reason: str = "rolled back") -> Rollout:
        """Give every device of a rollout the version back that it ran before.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it is a draft, or over for another reason, or another rollout has its devices.
            BadRequestError: what its devices ran before was withdrawn, or is below the signed minimum version.
        """
        with self._store.write() as tx:
            rollout = rollouts.get(tx, rollout_id)
            moved = machine.move(rollout, _R.ROLLING_BACK, reason=reason, now=now)
            machine.check_overlap(rollout.plan, _running(tx, without=rollout_id))
            deadline_s = max(group.deadline_s for group in rollout.plan.groups)
            moved = replace(moved, deadline_at=now + max(deadline_s, rollout.plan.activation_s))
            rollouts.save(tx, moved)
            reverting = self._runner.revert(tx, moved, now=now)
            _check_way_back(tx, rollout, reverting)
            if not reverting:
                moved = replace(moved, reason="nothing to bring back: no device has this rollout's version any more")
                rollouts.save(tx, moved)
            _note(tx, "roll_back", moved, actor=actor, now=now, detail=reason)
            moved = self._runner.advance(tx, rollout_id, now=now)
        self._wake()
        return moved

    def end_uses(self, tx: Transaction, model: str, versions: Sequence[VersionRecord], *, force: bool,
                 actor: str, now: float) -> VersionUses:  # fmt: skip
        """Have versions of a model used by nobody anew, before they are withdrawn; `wake` after the commit.

        Raises:
            ConflictError: they are in use, and it is not forced.
        """
        digests = frozenset(version.digest for version in versions)
        if not force:
            uses = find_uses(tx, model, digests)
            check_unused(model, [version.version for version in versions], uses)
            return uses
        return end_uses(tx, model, digests, runner=self._runner, actor=actor, now=now)

    def leave(self, tx: Transaction, device: str, *, now: float) -> None:
        """Take a device that was just removed out of the groups that wait for it; `wake` after the commit."""
        self._runner.leave(tx, device, now=now)

    def wake(self) -> None:
        """Have what devices are told sent, after a commit."""
        self._wake()

    def _withdraw(
        self, rollout_id: str, state: RolloutState, *, actor: str, reason: str, now: float, act: str
    ) -> Rollout:
        with self._store.write() as tx:
            rollout = rollouts.get(tx, rollout_id)
            if rollout.state is state:
                return rollout
            moved = machine.move(rollout, state, reason=reason, now=now)
            self._runner.apply(tx, Decision(moved, Effect.WITHDRAW), now=now)
            _note(tx, act, moved, actor=actor, now=now, detail=reason)
        self._wake()
        return moved

    def _make_way(self, tx: Transaction, rollout: Rollout, *, actor: str, now: float) -> None:
        """Refuse an overlap, or end the rollout that this one supersedes."""
        running = _running(tx, without=rollout.id)
        machine.check_overlap(rollout.plan, running)
        superseded = rollout.plan.supersedes
        if superseded in running:
            reason = f"superseded by {rollout.id}"
            moved = machine.move(rollouts.get(tx, superseded), _R.CANCELED, reason=reason, now=now)
            self._runner.apply(tx, Decision(moved, Effect.WITHDRAW), now=now)
            _note(tx, "cancel", moved, actor=actor, now=now, detail=reason)


def _running(tx: Transaction, *, without: str) -> dict[str, RolloutPlan]:
    """Return the rollouts that may have devices in hand; of one whose state is not known here, that is assumed."""
    found = [*rollouts.in_states(tx, machine.OPEN_STATES), *rollouts.in_unknown_states(tx)]
    return {rollout.id: rollout.plan for rollout in found if rollout.id != without}


def _check_published(tx: Transaction, plan: RolloutPlan) -> None:
    version = models.get_offered(tx, plan.model, plan.version)
    if version.digest != plan.digest:
        raise BadRequestError(
            f"{plan.model} {plan.version}: published with sha256 {version.digest[:12]}…, the plan says "
            f"{plan.digest[:12]}…"
        )


def _check_minimum(tx: Transaction, plan: RolloutPlan) -> None:
    minimum = _minimum(tx, plan)
    if minimum is not None and Version(plan.version) < minimum:
        raise BadRequestError(
            f"{plan.model} {plan.version}: below {minimum}, the signed minimum version, so every device would refuse "
            f"it; roll out {minimum} or a later one, or have an administrator lower it: edgemm fleet models withdraw "
            f"{plan.model} --minimum-version V"
        )


def _check_way_back(tx: Transaction, rollout: Rollout, reverting: Sequence[Member]) -> None:
    """Refuse a roll-back that every device would refuse; one that a few refuse ends for them as failed."""
    plan, minimum = rollout.plan, _minimum(tx, rollout.plan)
    before = [member.previous for member in reverting]
    withdrawn = models.withdrawn_among(tx, {one.digest for one in before if one})
    low = {one.version for one in before if one and minimum is not None and Version(one.version) < minimum}
    gone = {one.version for one in before if one and one.digest in withdrawn}
    if not before or not all(one and one.version in low | gone for one in before):
        return
    versions = ", ".join(sorted(low | gone, key=Version))
    below = f"below {minimum}, the signed minimum version"
    why = " or ".join(filter(None, ("withdrawn since" if gone else "", below if low else "")))
    raise BadRequestError(
        f"rollout {rollout.id} of {plan.model} {plan.version}: its devices ran {versions} before, {why}, so every "
        f"device would refuse it; roll out {f'{minimum} or a later one' if low else 'another version'}"
    )


def _minimum(tx: Transaction, plan: RolloutPlan) -> Version | None:
    model = models.find_model(tx, plan.model)
    return Version(model.minimum_version) if model is not None and model.minimum_version is not None else None


def _check_reach(tx: Transaction, rollout: Rollout, *, now: float) -> None:
    """Refuse to start what would reach nobody, unless its plan says that it may.

    Raises:
        NotFoundError: a device that it names is not enrolled.
        ConflictError: no device matches, or all that do have this version already.
    """
    plan = rollout.plan
    if plan.allow_empty:
        return
    what = f"rollout {rollout.id} of {plan.model} {plan.version}"
    _check_matches(tx, plan, what=what, now=now)
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


def _check_matches(tx: Transaction, plan: RolloutPlan, *, what: str, now: float) -> None:
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


def _note(tx: Transaction, act: str, rollout: Rollout, *, actor: str, now: float, detail: str = "") -> None:
    audit.add(tx, at=now, actor=actor, action=f"rollout.{act}", subject=rollout.id, detail=detail)
