"""The rollout runner: reads reports and numbers from the store, and writes members and `desired` back.

It is the shell around the decisions. Everything happens in the caller's transaction. So what `ingest` stored, what was
decided on it, and what devices are told because of it become durable together: a manager that is killed anywhere goes
on where it was.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec.structs import replace
from sqlalchemy.exc import OperationalError

from edgemm.messages import Reported
from edgemm.reasons import Reason
from edgemm.states import FAILURES, RolloutState, UpdateState
from edgemm_fleet.clock import SLACK_S
from edgemm_fleet.director.director import Director
from edgemm_fleet.filters.expressions import is_lasting
from edgemm_fleet.records.members import BEFORE_ACTIVATING, UNDECIDED, UNFINISHED, Member, MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import DesiredRefusal
from edgemm_fleet.rollout import judgement, machine
from edgemm_fleet.rollout.assigner import Assigner
from edgemm_fleet.rollout.explanation import explain
from edgemm_fleet.rollout.group_tally import tally
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.redating import longest_s, redated, redated_member
from edgemm_fleet.rollout.selection import MatchedDevice, select_members
from edgemm_fleet.store import Transaction, desired, devices, reported, rollouts

_DUE_AT_ONCE = 1000
_UNSUCCESSFUL = FAILURES | {UpdateState.CANCELED}
_log = logging.getLogger(__name__)


class Runner:
    """Carries rollouts on."""

    def __init__(self, director: Director) -> None:
        self.assigner = Assigner(director)
        self.director = director

    def react(self, tx: Transaction, ids: Sequence[str], *, now: float) -> None:
        """Judge devices by their newest reports and refusals, and let the rollouts that this concerns decide."""
        said = _said(tx, ids)
        by_rollout: dict[str, list[Member]] = {}
        for member in rollouts.current_memberships(tx, ids):
            by_rollout.setdefault(member.rollout, []).append(member)
        for rollout_id, members in by_rollout.items():
            with _apart(tx, rollout_id):
                self._judge(tx, members, said, rollouts.get(tx, rollout_id), now=now)

    def tick(self, tx: Transaction, *, now: float) -> None:
        """End what is past its deadline, and let every open rollout decide; try again what met an error."""
        states = [*machine.OPEN_STATES, RolloutState.DRAFT, RolloutState.READY]
        for rollout_id in rollouts.ids_to_look_at(tx, states, now=now):
            with _apart(tx, rollout_id):
                rollout = rollouts.get(tx, rollout_id)
                if not rollout.state.known:
                    continue
                if rollout.trouble is not None:
                    self._judge_again(tx, rollout, now=now)
                self._redate(tx, rollout, now=now)
                self._end_overdue(tx, rollout, now=now)
                self.advance(tx, rollout_id, now=now)
                rollouts.note_trouble(tx, rollout_id, None)

    def advance(self, tx: Transaction, rollout_id: str, *, now: float) -> Rollout:
        """Let a rollout decide until it has nothing more to do now; return it."""
        while True:
            rollout = rollouts.get(tx, rollout_id)
            decision = machine.decide(
                rollout, tally(rollouts.tallies(tx, rollout_id), rollouts.removed(tx, rollout_id)), now=now
            )
            if decision is None:
                return rollout
            if decision.failed:
                decision = _explained(decision, rollouts.members_of(tx, rollout_id, group=decision.group))
            self.apply(tx, decision, now=now)

    def apply(self, tx: Transaction, decision: Decision, *, now: float) -> None:
        """Store a decision and do to devices what it asks for."""
        rollout = decision.rollout
        rollouts.save(tx, rollout)
        _log.info(
            "rollout_changed rollout=%s state=%s effect=%s reason=%s",
            rollout.id,
            rollout.state,
            decision.effect,
            rollout.reason,
        )
        if decision.effect is Effect.START_GROUP:
            self._start_group(tx, rollout, decision.group, now=now)
        elif decision.effect is Effect.WITHDRAW:
            self._withdraw(tx, rollout, now=now)

    def revert(self, tx: Transaction, rollout: Rollout, *, now: float) -> list[Member]:
        """Write the earlier version for every member that was told this rollout's; return those."""
        members = rollouts.members_of(tx, rollout.id)
        live = devices.live(tx, [member.device for member in members])
        reverting = self.assigner.revert(tx, [m for m in members if m.device in live], rollout, now=now)
        rollouts.put_members(tx, reverting)
        return reverting

    def put_off(self, tx: Transaction, rollout: Rollout, *, by_s: float) -> None:
        """Give members that have not begun to activate so much longer: their time stood still."""
        rollouts.put_off_members(tx, rollout.id, states=BEFORE_ACTIVATING, by_s=by_s)

    def leave(self, tx: Transaction, device: str, *, now: float) -> None:
        """Take a device that was removed out of every group where something was to come of it."""
        for member in rollouts.memberships_of(tx, device, states=UNDECIDED):
            with _apart(tx, member.rollout):
                is_open = rollouts.get(tx, member.rollout).state in machine.OPEN_STATES
                if is_open or member.state is not MemberState.TIMED_OUT:  # of a rollout that is over that was the end
                    rollouts.put_members(tx, [judgement.removed(member, now=now)])
                    self.advance(tx, member.rollout, now=now)

    def _judge(
        self,
        tx: Transaction,
        members: Sequence[Member],
        said: Mapping[str, _Said],
        rollout: Rollout,
        *,
        now: float,
    ) -> None:
        judged = [_judged(member, said[member.device], rollout, now=now) for member in members]
        changed = [after for before, after in zip(members, judged, strict=True) if after is not before]
        if changed:
            ended = {member.device: member.attempt for member in changed if member.update_state in _UNSUCCESSFUL}
            self.assigner.spend(tx, ended, rollout)
            rollouts.put_members(tx, changed)
            self._take_back_ended(tx, changed, self.advance(tx, rollout.id, now=now), now=now)

    def _judge_again(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        """Judge all members by what they said last: nobody says again what an error kept from being taken in."""
        ids = [member.device for member in rollouts.members_of(tx, rollout.id)]
        members = rollouts.current_memberships(tx, ids, model=rollout.plan.model)
        self._judge(tx, [m for m in members if m.rollout == rollout.id], _said(tx, ids), rollout, now=now)

    def _redate(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        """Bring dates back that a clock wrote which was ahead."""
        changed, latest = redated(rollout, now=now), now + longest_s(rollout.plan) + SLACK_S
        members = rollouts.members_due_after(tx, rollout.id, after=latest, limit=_DUE_AT_ONCE)
        if changed is rollout and not members:
            return
        _log.warning(
            "rollout_dated_anew rollout=%s dated by a clock that was ahead, dated anew members=%d",
            rollout.id,
            len(members),
        )
        rollouts.save(tx, changed)
        rollouts.put_members(tx, [redated_member(member, rollout.plan, now=now) for member in members])

    def _end_overdue(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        # In a pause, nothing runs out but what a device does by itself since it began to activate.
        states = [MemberState.ACTIVATING] if rollout.state is RolloutState.PAUSED else None
        members = rollouts.due_members(tx, rollout.id, now=now, limit=_DUE_AT_ONCE, states=states)
        live = devices.live(tx, [member.device for member in members])
        ended = [
            judgement.overdue(member, now=now)
            if member.device in live or member.state not in UNDECIDED
            else judgement.removed(member, now=now)
            for member in members
        ]
        for member in ended:
            _log.info(
                "member_changed rollout=%s device=%s state=%s reason=%s",
                rollout.id,
                member.device,
                member.state,
                member.reason,
            )
        # Caught up by the last group, under its thresholds; until then it must not install unobserved.
        waiting = [m for m in ended if m.state is MemberState.TIMED_OUT and m.group < rollout.plan.last_group]
        self.assigner.take_back(tx, waiting, rollout, now=now)
        rollouts.put_members(tx, ended)

    def _start_group(self, tx: Transaction, rollout: Rollout, group: int, *, now: float) -> None:
        matching = devices.matching(tx, rollout.plan.selector, model=rollout.plan.model, now=now)
        candidates = [MatchedDevice(device.id, device.presence.online) for device in matching]
        # A device that was removed and let in again is a new one.
        members = [member for member in rollouts.members_of(tx, rollout.id) if member.reason != Reason.REMOVED]
        present = {member.device: member.state for member in members}
        if not is_lasting(rollout.plan.selector.expression(model=rollout.plan.model)):
            # What the filter asks of a device may be what this rollout changed there: a member stays one.
            left = present.keys() - {candidate.device for candidate in candidates}
            candidates += [MatchedDevice(one.id, one.presence.online) for one in devices.live(tx, left).values()]
        rollouts.save(tx, machine.with_matching(rollout, group, len(candidates)))
        chosen = select_members(rollout.id, rollout.plan, group, candidates=candidates, members=present)
        _log.info("group_started rollout=%s group=%d devices=%d", rollout.id, group + 1, len(chosen))
        self._leave_earlier(tx, chosen, rollout, now=now)
        entered = self.assigner.give(tx, chosen, rollout, group=group, now=now)
        # A device that runs the version already is told nothing new, and counts at once.
        said = _said(tx, chosen)
        rollouts.put_members(tx, [_judged(member, said[member.device], rollout, now=now) for member in entered])

    def _leave_earlier(self, tx: Transaction, ids: Sequence[str], rollout: Rollout, *, now: float) -> None:
        """End what these devices had to do for an earlier rollout of the same model."""
        earlier = [
            judgement.excused(member, reason=Reason.SUPERSEDED, detail=f"by {rollout.id}", now=now)
            for member in rollouts.current_memberships(tx, ids, model=rollout.plan.model)
            if member.rollout != rollout.id and member.state in UNFINISHED | {MemberState.REVERTING}
        ]
        rollouts.put_members(tx, earlier)

    def _withdraw(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        waiting = rollouts.members_of(tx, rollout.id, states=BEFORE_ACTIVATING | {MemberState.TIMED_OUT})
        ended = rollouts.members_of(tx, rollout.id, states=[MemberState.FAILED, MemberState.EXCUSED])
        unknown = rollouts.members_in_unknown_states(tx, rollout.id)
        self.assigner.take_back(tx, [*waiting, *unknown, *filter(judgement.gave_up, ended)], rollout, now=now)
        values = {"state": MemberState.WITHDRAWN, "reason": None, "changed_at": now, "deadline_at": None}
        rollouts.put_members(tx, [replace(member, **values) for member in waiting])

    def _take_back_ended(self, tx: Transaction, changed: Sequence[Member], rollout: Rollout, *, now: float) -> None:
        """Take the version back from devices that were activating when the rollout broke off, and failed since."""
        if rollout.state in machine.BROKEN_OFF_STATES:
            self.assigner.take_back(tx, list(filter(judgement.gave_up, changed)), rollout, now=now)


@dataclasses.dataclass(frozen=True)
class _Said:
    """What is known of a device: its newest report, and why it refuses what it is told."""

    report: Reported | None
    refusal: DesiredRefusal | None


def _said(tx: Transaction, ids: Sequence[str]) -> dict[str, _Said]:
    reports, refusals = reported.of(tx, ids), desired.refusals(tx, ids)
    return {
        device: _Said(reports[device].reported if device in reports else None, refusals.get(device)) for device in ids
    }


def _judged(member: Member, said: _Said, rollout: Rollout, *, now: float) -> Member:
    member = judgement.refused(member, said.refusal, now=now)
    if said.report is None:
        return member
    member = judgement.judge(member, said.report, plan=rollout.plan, now=now)
    if rollout.state not in machine.JUDGING_STATES:
        return member
    return judgement.held(member, said.report, plan=rollout.plan, now=now)


@contextmanager
def _apart(tx: Transaction, rollout_id: str) -> Iterator[None]:
    """Undo what was done to one rollout if it fails, note the error at it, and go on with the others.

    The note stays until a `tick` had no error: only that makes up for everything that was undone.
    """
    try:
        with tx.begin_nested():
            yield
    except OperationalError:
        raise  # of the database, a full disk for one: then nothing of the whole transaction holds
    except Exception as err:  # noqa: BLE001 - the boundary of a rollout: a defect that meets one must not stop all
        if rollouts.note_trouble(tx, rollout_id, f"{type(err).__name__}: {err}"):
            _log.exception("rollout_stuck rollout=%s cannot go on; it is tried again", rollout_id)


def _explained(decision: Decision, members: Sequence[Member]) -> Decision:
    """Add to a halt's reason what devices of its group gave as theirs."""
    rollout = decision.rollout
    reason = f"{rollout.reason or ''}{explain(members)}"
    return dataclasses.replace(decision, rollout=replace(rollout, reason=reason))
