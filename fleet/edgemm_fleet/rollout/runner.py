"""The shell around the decisions: reads reports and numbers from the store, writes members and `desired` back.

Everything happens in the caller's transaction. What `ingest` stored, what was decided on it and what devices are told
because of it therefore become durable together: a manager that is killed anywhere goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from edgemm.messages import DesiredModel
from edgemm.states import FAILURES, RolloutState, UpdateState
from edgemm_fleet.director.director import Director
from edgemm_fleet.rollout import judgement, machine
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.members import BEFORE_ACTIVATING, UNFINISHED, Member, MemberState
from edgemm_fleet.rollout.plan import Plan
from edgemm_fleet.rollout.progress import Rollout
from edgemm_fleet.rollout.reversal import active_model
from edgemm_fleet.rollout.selection import Candidate, select_members
from edgemm_fleet.rollout.tally import tally
from edgemm_fleet.store import Transaction, desired, devices, reported, rollouts

_DUE_AT_ONCE = 1000
_log = logging.getLogger(__name__)


class Runner:
    """Carries rollouts on."""

    def __init__(self, director: Director) -> None:
        self._director = director

    def react(self, tx: Transaction, ids: Sequence[str], *, now: float) -> None:
        """Judge devices by their newest reports, and let the rollouts that this concerns decide."""
        reports = reported.of(tx, ids)
        changed: list[Member] = []
        for member in rollouts.current_memberships(tx, sorted(reports)):
            plan = rollouts.get(tx, member.rollout).plan
            judged = judgement.judge(member, reports[member.device].reported, plan=plan, now=now)
            if judged is not member:
                changed.append(judged)
                if judged.update_state in FAILURES | {UpdateState.CANCELED}:
                    self._spend(tx, judged, plan)
        self._store(tx, changed, now=now)

    def tick(self, tx: Transaction, *, now: float) -> None:
        """End what is past its deadline, and let every open rollout decide."""
        due = rollouts.due_members(tx, now=now, limit=_DUE_AT_ONCE)
        self._store(tx, [self._overdue(tx, member, now=now) for member in due], now=now)
        states = [*machine.OPEN_STATES, RolloutState.DRAFT, RolloutState.READY]
        for rollout in rollouts.in_states(tx, states):
            self.advance(tx, rollout.id, now=now)

    def advance(self, tx: Transaction, rollout_id: str, *, now: float) -> Rollout:
        """Let a rollout decide until it has nothing more to do now; return it."""
        while True:
            rollout = rollouts.get(tx, rollout_id)
            decision = machine.decide(rollout, tally(rollouts.tallies(tx, rollout_id)), now=now)
            if decision is None:
                return rollout
            self.apply(tx, decision, now=now)

    def apply(self, tx: Transaction, decision: Decision, *, now: float) -> None:
        """Store a decision and do to devices what it asks for."""
        rollout = decision.rollout
        rollouts.save(tx, rollout)
        _log.info("rollout=%s state=%s effect=%s reason=%s", rollout.id, rollout.state, decision.effect, rollout.reason)
        if decision.effect is Effect.START_GROUP:
            self._start_group(tx, rollout, decision.group, now=now)
        elif decision.effect is Effect.WITHDRAW:
            self._withdraw(tx, rollout, now=now)

    def revert(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        """Write the earlier version for every member that was told this rollout's."""
        assert rollout.deadline_at is not None
        changed = []
        for member in rollouts.members_of(tx, rollout.id):
            if not self._is_assigned(tx, member, rollout):
                continue
            self._want(tx, member.device, rollout.plan.model, member.previous)
            generation = self._tell(tx, member.device, now=now)
            values = {"state": MemberState.REVERTING, "reason": None, "generation": generation}
            changed.append(replace(member, **values, changed_at=now, deadline_at=rollout.deadline_at))
        rollouts.put_members(tx, changed)

    def _store(self, tx: Transaction, changed: Sequence[Member], *, now: float) -> None:
        rollouts.put_members(tx, changed)
        for rollout_id in dict.fromkeys(member.rollout for member in changed):
            self.advance(tx, rollout_id, now=now)

    def _overdue(self, tx: Transaction, member: Member, *, now: float) -> Member:
        if member.state in UNFINISHED and devices.find(tx, member.device) is None:
            return judgement.excused(member, reason=judgement.REMOVED, now=now)
        ended = judgement.overdue(member, now=now)
        rollout = rollouts.get(tx, member.rollout)
        _log.info("rollout=%s device=%s state=%s reason=%s", rollout.id, ended.device, ended.state, ended.reason)
        if ended.state is MemberState.TIMED_OUT and member.group < rollout.plan.last_group:
            # Caught up by the last group, under its thresholds; until then it must not install unobserved.
            self._take_back(tx, member, rollout, now=now)
        return ended

    def _start_group(self, tx: Transaction, rollout: Rollout, group: int, *, now: float) -> None:
        candidates = [Candidate(d.id, d.presence.online) for d in devices.matching(tx, rollout.plan.selector)]
        present = {member.device: member.state for member in rollouts.members_of(tx, rollout.id)}
        chosen = select_members(rollout.id, rollout.plan, group, candidates=candidates, members=present)
        _log.info("rollout=%s group=%d devices=%d", rollout.id, group + 1, len(chosen))
        self._leave_earlier(tx, chosen, rollout, now=now)
        deadline_at = rollout.groups[group].deadline_at
        rollouts.put_members(tx, [self._enter(tx, d, rollout, group, deadline_at=deadline_at, now=now) for d in chosen])
        reports = reported.of(tx, chosen)
        if reports:
            self._judge_entered(tx, rollout, reports.keys(), now=now)

    def _judge_entered(self, tx: Transaction, rollout: Rollout, ids: Iterable[str], *, now: float) -> None:
        """Count devices that run the version already; `advance`, which called, decides on it next."""
        reports = reported.of(tx, list(ids))
        entered = [m for m in rollouts.members_of(tx, rollout.id, states=UNFINISHED) if m.device in reports]
        judged = [judgement.judge(m, reports[m.device].reported, plan=rollout.plan, now=now) for m in entered]
        rollouts.put_members(tx, judged)

    def _leave_earlier(self, tx: Transaction, ids: Sequence[str], rollout: Rollout, *, now: float) -> None:
        """End what these devices had to do for an earlier rollout of the same model."""
        earlier = [
            judgement.excused(member, reason=f"superseded by {rollout.id}", now=now)
            for member in rollouts.current_memberships(tx, ids)
            if member.rollout != rollout.id
            and member.state in UNFINISHED | {MemberState.REVERTING}
            and rollouts.get(tx, member.rollout).plan.model == rollout.plan.model
        ]
        rollouts.put_members(tx, earlier)

    def _enter(
        self, tx: Transaction, device: str, rollout: Rollout, group: int, *, deadline_at: float | None, now: float
    ) -> Member:
        plan = rollout.plan
        assigned = desired.assigned(tx, device).get(plan.model)
        report = reported.find(tx, device)
        attempt = desired.next_attempt(tx, device, model=plan.model, digest=plan.digest)
        model = DesiredModel(
            name=plan.model,
            version=plan.version,
            digest=plan.digest,
            attempt=attempt,
            variants=plan.variants,
            config=plan.config,
            rollout=rollout.id,
        )
        desired.assign(tx, device, model)
        return Member(
            rollout=rollout.id,
            device=device,
            group=group,
            state=MemberState.PENDING,
            attempt=attempt,
            generation=self._tell(tx, device, now=now),
            previous=active_model(plan.model, report.reported if report else None, assigned),
            started_at=now,
            changed_at=now,
            deadline_at=deadline_at,
        )

    def _withdraw(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        waiting = rollouts.members_of(tx, rollout.id, states=BEFORE_ACTIVATING | {MemberState.TIMED_OUT})
        for member in waiting:
            self._take_back(tx, member, rollout, now=now)
        values = {"state": MemberState.WITHDRAWN, "reason": None, "changed_at": now, "deadline_at": None}
        rollouts.put_members(tx, [replace(member, **values) for member in waiting])

    def _take_back(self, tx: Transaction, member: Member, rollout: Rollout, *, now: float) -> None:
        """Want of a device what is active on it, if it still has this rollout's assignment."""
        if not self._is_assigned(tx, member, rollout):
            return
        self._spend(tx, member, rollout.plan)
        report = reported.find(tx, member.device)
        active = active_model(rollout.plan.model, report.reported if report else None, member.previous)
        self._want(tx, member.device, rollout.plan.model, active)
        self._tell(tx, member.device, now=now)

    def _want(self, tx: Transaction, device: str, model: str, wanted: DesiredModel | None) -> None:
        if wanted is None:
            desired.unassign(tx, device, model)
            return
        attempt = desired.next_attempt(tx, device, model=model, digest=wanted.digest)
        desired.assign(tx, device, replace(wanted, attempt=attempt))

    def _tell(self, tx: Transaction, device: str, *, now: float) -> int:
        written = self._director.write(tx, device, now=now)
        return written.generation if written is not None else 0

    def _is_assigned(self, tx: Transaction, member: Member, rollout: Rollout) -> bool:
        assigned = desired.assigned(tx, member.device).get(rollout.plan.model)
        return assigned is not None and assigned.rollout == rollout.id

    def _spend(self, tx: Transaction, member: Member, plan: Plan) -> None:
        desired.spend_attempt(tx, member.device, model=plan.model, digest=plan.digest, attempt=member.attempt)
