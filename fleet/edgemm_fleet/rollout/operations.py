"""An operator's actions on rollouts; each is one transaction and one line of the audit log.

rollout = operations.create(plan, actor="person:ann")
operations.start(rollout.id, actor="person:ann")
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from edgemm import times
from edgemm.errors import BadRequestError, ConflictError
from edgemm.requirements import refusal
from edgemm.states import RolloutState
from edgemm_fleet.records.members import UNFINISHED
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.records import VersionRecord
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.rollout import machine, pausing, preconditions
from edgemm_fleet.rollout.group_tally import tally
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.redating import DRAFT_LIFETIME_S
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.rollout.version_uses import UsesOfVersions, VersionUses, check_unused
from edgemm_fleet.store import Store, Transaction, audit, models, rollouts

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
        plan = plan.with_requirements()
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
        with self._store.read() as tx:  # which may look at many devices
            preconditions.check_published(tx, plan)
            preconditions.check_minimum(tx, plan)
            if not plan.allow_empty:
                preconditions.check_matches(tx, plan, what=f"rollout of {plan.model} {plan.version}", now=now)
        with self._store.write() as tx:
            preconditions.check_published(tx, plan)
            rollouts.add(tx, rollout)
            _note(tx, "create", rollout, actor=actor, now=now, detail=f"{plan.model} {plan.version}")
        return rollout

    def start(self, rollout_id: str, *, actor: str, now: float) -> Rollout:
        """Start a draft: the members of its first group are chosen, and then told.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it was started before, its plan needs what is not known here, it would reach nobody, another
                rollout has the same model and devices, a device of the first group has no room for another model, or
                the version was withdrawn since.
            BadRequestError: the signed minimum version was raised above this version since.
        """
        with self._store.read() as tx:  # which may look at many devices
            rollout = _startable(tx, rollout_id)
            machine.move(rollout, _R.READY, now=now)
            preconditions.check_reach(tx, rollout, now=now)
        with self._store.write() as tx:
            rollout = _startable(tx, rollout_id)
            started = machine.move(machine.move(rollout, _R.READY, now=now), _R.RUNNING, now=now)
            self._make_way(tx, rollout, actor=actor, now=now)
            rollouts.save(tx, started)
            _note(tx, "start", started, actor=actor, now=now)
            started = self._runner.advance(tx, rollout_id, now=now)
            preconditions.check_room(tx, started, now=now)
        self._wake()
        return started

    def pause(self, rollout_id: str, *, actor: str, reason: str, limit_s: float, now: float) -> Rollout:
        """Tell no further device until it is resumed; at the pause's end it halts. Again is no error.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it does not run.
        """
        with self._store.write() as tx:
            rollout = rollouts.get(tx, rollout_id)
            paused = pausing.paused(rollout, reason=reason, limit_s=limit_s, now=now)
            if paused is not rollout:
                rollouts.save(tx, paused)
                self._runner.begin_epoch(tx)
                _note(tx, "pause", paused, actor=actor, now=now, detail=f"for {times.span(limit_s)}: {reason}")
        return paused

    def resume(self, rollout_id: str, *, actor: str, now: float) -> Rollout:
        """Go on after a pause, with all deadlines put off by its length. Again is no error.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it neither runs nor is paused, or needs what is not known here.
        """
        with self._store.write() as tx:
            rollout = rollouts.get(tx, rollout_id)
            resumed, by_s = pausing.resumed(rollout, now=now)
            if resumed is rollout:
                return rollout
            if unknown := rollout.plan.unknown:
                raise ConflictError(f"rollout {rollout_id}: it {refusal(unknown)}")
            rollouts.save(tx, resumed)
            _note(tx, "resume", resumed, actor=actor, now=now, detail=f"after {times.span(by_s)}")
            resumed = self._runner.advance(tx, rollout_id, now=now)
        self._wake()
        return resumed

    def go_on(self, rollout_id: str, *, after: int | None, actor: str, now: float) -> Rollout:
        """Start the group after one (by index; None: the current one) now, without its soak or a wait for a person.

        Again is no error where `after` is given.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it does not run, or that group has not reached its success threshold.
        """
        with self._store.write() as tx:
            before = rollouts.get(tx, rollout_id).current_group or 0
            rollout = self._runner.advance(tx, rollout_id, now=now)
            tallies = tally(rollouts.tallies(tx, rollout_id), rollouts.removed(tx, rollout_id))
            chosen = before if after is None else after
            decision = pausing.gone_on(rollout, tallies, after=chosen, now=now)
            if decision is not None:
                self._runner.apply(tx, decision, now=now)
                _note(tx, "next", rollout, actor=actor, now=now, detail=f"after group {chosen + 1}")
                rollout = self._runner.advance(tx, rollout_id, now=now)
        self._wake()
        return rollout

    def halt(self, rollout_id: str, *, actor: str, reason: str, now: float) -> Rollout:
        """Stop a rollout; members that have not begun to activate keep what they run. Again is no error.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it neither runs nor is paused.
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
        with self._store.read() as tx:  # which may look at many devices
            rollout = rollouts.get(tx, rollout_id)
            machine.move(rollout, _R.ROLLING_BACK, now=now)
            before = rollouts.tallies(tx, rollout_id)
            something = preconditions.check_way_back(tx, rollout, self._runner.having(tx, rollout))
        with self._store.write() as tx:
            rollout = rollouts.get(tx, rollout_id)
            tallies = rollouts.tallies(tx, rollout_id)
            something |= set(tallies) != set(before)  # some may have been told since
            nothing = "nothing to bring back: no device has this rollout's version any more"
            moved = machine.move(rollout, _R.ROLLING_BACK, reason=reason if something else nothing, now=now)
            machine.check_overlap(rollout.plan, _running(tx, without=rollout_id))
            deadline_s = max(group.deadline_s for group in rollout.plan.groups)
            moved = replace(moved, deadline_at=now + max(deadline_s, rollout.plan.activation_s))
            if not something and not any(state in UNFINISHED for _, state, _, _ in tallies):
                moved = machine.taken_back(moved, None)
            rollouts.save(tx, moved)
            self._runner.begin_epoch(tx)
            _note(tx, "roll_back", moved, actor=actor, now=now, detail=reason)
            moved = self._runner.advance(tx, rollout_id, now=now)
        self._wake()
        return moved

    def end_uses(
        self, model: str, versions: Sequence[VersionRecord], *, force: bool, actor: str, now: float
    ) -> VersionUses:
        """Have versions of a model used by nobody anew, before they are withdrawn; in transactions of its own.

        Raises:
            ConflictError: they are in use, and it is not forced.
        """
        using = self._using(model, versions)
        if force:
            ended = using.end(actor=actor, now=now)
            self._wake()
            return ended
        uses = using.find()
        check_unused(model, [version.version for version in versions], uses)
        return uses

    def check_begun(
        self, tx: Transaction, model: str, versions: Sequence[VersionRecord], *, since: VersionUses, force: bool,
        actor: str, now: float,
    ) -> None:  # fmt: skip
        """Refuse the withdrawal of versions that came to be used since `end_uses`; `wake` after the commit.

        Raises:
            ConflictError: they did, and it is not forced.
        """
        self._using(model, versions).check_begun(tx, since, force=force, actor=actor, now=now)

    def leave(self, tx: Transaction, device: str, *, now: float) -> None:
        """Take a device that was just removed out of the groups that wait for it; `wake` after the commit."""
        self._runner.leave(tx, device, now=now)

    def wake(self) -> None:
        """Have what devices are told sent, after a commit."""
        self._wake()

    def _using(self, model: str, versions: Sequence[VersionRecord]) -> UsesOfVersions:
        return UsesOfVersions(self._store, self._runner, model, frozenset(version.digest for version in versions))

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


def _startable(tx: Transaction, rollout_id: str) -> Rollout:
    """Return a rollout that may be started, as far as its plan goes; raises as `RolloutOperations.start`."""
    rollout = rollouts.get(tx, rollout_id)
    if unknown := rollout.plan.unknown:
        raise ConflictError(f"rollout {rollout_id}: it {refusal(unknown)}")
    models.get_offered(tx, rollout.plan.model, rollout.plan.version)
    preconditions.check_minimum(tx, rollout.plan)
    return rollout


def _running(tx: Transaction, *, without: str) -> dict[str, RolloutPlan]:
    """Return the rollouts that may have devices in hand; of one whose state is not known here, that is assumed."""
    found = [*rollouts.in_states(tx, machine.OPEN_STATES), *rollouts.in_unknown_states(tx)]
    return {rollout.id: rollout.plan for rollout in found if rollout.id != without}


def _note(tx: Transaction, act: str, rollout: Rollout, *, actor: str, now: float, detail: str = "") -> None:
    audit.add(tx, at=now, actor=actor, action=f"rollout.{act}", subject=rollout.id, detail=detail)
