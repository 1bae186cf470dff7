"""The rollout runner: reads reports and numbers from the store, and writes members and `desired` back.

It is the shell around the decisions. Everything happens in the caller's transaction. So what `ingest` stored, what was
decided on it, and what devices are told because of it become durable together: a manager that is killed anywhere goes
on where it was.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from edgemm.reasons import Reason
from edgemm.states import FAILURES, RolloutState, UpdateState
from edgemm_fleet.clock import SLACK_S
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.members import BEFORE_ACTIVATING, UNDECIDED, UNFINISHED, WITH_GROUP, Member, MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import ReportedRecord
from edgemm_fleet.rollout import judgement, machine, preparing
from edgemm_fleet.rollout.apart import apart
from edgemm_fleet.rollout.assigner import Assigner
from edgemm_fleet.rollout.explanation import explain
from edgemm_fleet.rollout.group_tally import tally
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.member_answers import Said, judged, said_by
from edgemm_fleet.rollout.redating import longest_s, redated, redated_member
from edgemm_fleet.store import Store, Transaction, devices, rollouts
from edgemm_fleet.store.database import after_commit

_AT_ONCE = 100
"""Members that one transaction ends or judges again."""
_PARTS = 20
"""So many such transactions of a rollout follow one another."""
_READ = 500
"""Members that are read at a time."""
_EXPLAINED = 250
"""Of so many members of each state the reasons are told."""
_UNSUCCESSFUL = FAILURES | {UpdateState.CANCELED}
WAITING = BEFORE_ACTIVATING | {MemberState.TIMED_OUT}
"""States of members that were told and may yet begin."""
_log = logging.getLogger(__name__)


class Runner:
    """Carries rollouts on."""

    def __init__(self, director: Director) -> None:
        self.assigner = Assigner(director)
        self.director = director
        self.epoch = 0
        """Another one after each commit by which something is not to be sent any more that was to be before."""
        self.not_handed_out: set[str] = set()
        """Rollouts of which a part met an error when it was to be handed out last."""
        self.not_taken_back: set[str] = set()
        """Rollouts of which a part met an error when it was to be taken back last."""
        self.not_prepared: set[str] = set()
        """Rollouts of which a part met an error when it was to be prepared last."""
        self._judged_again: dict[str, str] = {}

    def react(
        self,
        tx: Transaction,
        ids: Sequence[str],
        *,
        now: float,
        newest: Mapping[str, ReportedRecord] = MappingProxyType({}),
    ) -> None:
        """Judge devices by their newest reports and refusals, and let the rollouts that this concerns decide.

        `newest`: reports that the caller knows, and need not be read.
        """
        said = said_by(tx, ids, newest=newest)
        by_rollout: dict[str, list[Member]] = {}
        for member in rollouts.current_memberships(tx, ids):
            by_rollout.setdefault(member.rollout, []).append(member)
        for rollout_id, members in by_rollout.items():
            with apart(tx, rollout_id):
                self._judge(tx, members, said, rollouts.get(tx, rollout_id), now=now)

    def tick(self, store: Store, *, now: float) -> None:
        """End what is past its deadline, and let every open rollout decide; try again what met an error.

        Each rollout has transactions of its own, which are short.
        """
        states = [*machine.OPEN_STATES, RolloutState.DRAFT, RolloutState.READY]
        with store.read() as tx:
            found = rollouts.ids_to_look_at(tx, states, now=now)
        for rollout_id in found:
            for _ in range(_PARTS):
                with store.write() as tx:
                    more = self._look_at(tx, rollout_id, now=now)
                if not more:
                    break

    def _look_at(self, tx: Transaction, rollout_id: str, *, now: float) -> bool:
        """Look at a rollout, and at as many of its members as one transaction does; tell whether there are more."""
        more = False
        with apart(tx, rollout_id):
            rollout = rollouts.get(tx, rollout_id)
            if not rollout.state.known:
                return False
            if rollout.trouble is not None:
                more = self._judge_again(tx, rollout, now=now)
            self._redate(tx, rollout, now=now)
            more |= self._end_overdue(tx, rollout, now=now)
            self.advance(tx, rollout_id, now=now)
            if not more and not self._fails_in_parts(rollout):
                rollouts.note_trouble(tx, rollout_id, None)
        return more

    def _fails_in_parts(self, rollout: Rollout) -> bool:
        if rollout.state is RolloutState.RUNNING:
            return rollout.id in self.not_handed_out | self.not_prepared
        return rollout.taken_back is not None and rollout.id in self.not_taken_back

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
                decision = _explained(tx, decision)
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
        if decision.effect is Effect.PREPARE_GROUP:
            if preparing.is_little(tx, rollout):
                self.start_group(tx, preparing.at_once(tx, rollout, decision.group, now=now), decision.group, now=now)
        elif decision.effect is Effect.WITHDRAW:
            self.begin_epoch(tx)

    def begin_epoch(self, tx: Transaction) -> None:
        """Have whoever sends look again at what is to be sent, as soon as this is durable."""
        after_commit(tx, self._begin_epoch)

    def start_group(self, tx: Transaction, rollout: Rollout, group: int, *, now: float) -> None:
        """Start a group whose members are chosen: from now on they are told."""
        rollouts.save(tx, machine.started(rollout, group, now=now))
        _log.info("group_started rollout=%s group=%d devices=%s", rollout.id, group + 1, rollout.groups[group].size)

    def tell(self, tx: Transaction, members: Sequence[Member], rollout: Rollout, *, now: float) -> None:
        """Have prepared members be told the version, and judge them by what they said before."""
        enrolled = devices.enrolled(tx, [member.device for member in members])
        gone = [judgement.removed(member, now=now) for member in members if member.device not in enrolled]
        chosen = [member for member in members if member.device in enrolled]
        ids = [member.device for member in chosen]
        self._leave_earlier(tx, ids, rollout, now=now)
        entered = self.assigner.give(tx, chosen, rollout, now=now)
        # A device that runs the version already is told nothing new, and counts at once.
        said = said_by(tx, ids)
        after = [judged(member, said[member.device], rollout, now=now) for member in entered]
        rollouts.put_members(tx, [*gone, *after])
        self.advance(tx, rollout.id, now=now)

    def take_back(self, tx: Transaction, members: Sequence[Member], rollout: Rollout, *, now: float) -> None:
        """Take the version of a rollout that was broken off back from those members that would yet begin with it."""
        waiting = [member for member in members if member.state in WAITING]
        others = [member for member in members if not member.state.known or judgement.gave_up(member)]
        self.assigner.take_back(tx, [*waiting, *others], rollout, now=now)
        withdrawn = {"state": MemberState.WITHDRAWN, "reason": None, "changed_at": now, "deadline_at": None}
        rollouts.put_members(tx, [replace(member, **withdrawn) for member in waiting])

    def revert(self, tx: Transaction, members: Sequence[Member], rollout: Rollout, *, now: float) -> None:
        """Write the earlier version for those of some members of whom this rollout's is wanted, or that run it."""
        rollouts.put_members(tx, self.assigner.revert(tx, self._enrolled(tx, members), rollout, now=now))

    def having(self, tx: Transaction, rollout: Rollout) -> Iterator[list[Member]]:
        """Yield a rollout's members that a roll-back would give their earlier version, in parts."""
        after = ""
        while ids := rollouts.members_after(tx, rollout.id, after=after, limit=_READ):
            members = self._enrolled(tx, rollouts.members_among(tx, rollout.id, ids))
            yield list(self.assigner.having(tx, members, rollout).values())
            after = ids[-1]

    def _begin_epoch(self) -> None:
        self.epoch += 1

    def _enrolled(self, tx: Transaction, members: Sequence[Member]) -> list[Member]:
        enrolled = devices.enrolled(tx, [member.device for member in members])
        return [member for member in members if member.device in enrolled]

    def leave(self, tx: Transaction, device: str, *, now: float) -> None:
        """Take a device that was removed out of every group where something was to come of it."""
        for member in rollouts.memberships_of(tx, device, states=UNDECIDED):
            with apart(tx, member.rollout):
                is_open = rollouts.get(tx, member.rollout).state in machine.OPEN_STATES
                if is_open or member.state is not MemberState.TIMED_OUT:  # of a rollout that is over that was the end
                    rollouts.put_members(tx, [judgement.removed(member, now=now)])
                    self.advance(tx, member.rollout, now=now)

    def _judge(
        self,
        tx: Transaction,
        members: Sequence[Member],
        said: Mapping[str, Said],
        rollout: Rollout,
        *,
        now: float,
    ) -> None:
        after = [judged(member, said[member.device], rollout, now=now) for member in members]
        changed = [new for before, new in zip(members, after, strict=True) if new is not before]
        if changed:
            ended = {member.device: member.attempt for member in changed if member.update_state in _UNSUCCESSFUL}
            self.assigner.spend(tx, ended, rollout)
            rollouts.put_members(tx, changed)
            was = {member.device: member.state for member in members}
            turned = [m for m in changed if judgement.gave_up(m) or judgement.turned_back(m, was[m.device])]
            self._take_back_ended(tx, turned, self.advance(tx, rollout.id, now=now), now=now)

    def _judge_again(self, tx: Transaction, rollout: Rollout, *, now: float) -> bool:
        """Judge members by what they said last: nobody says again what an error kept from being taken in.

        Tell whether there are more; those come next.
        """
        after = self._judged_again.get(rollout.id, "")
        ids = rollouts.members_after(tx, rollout.id, after=after, limit=_AT_ONCE)
        members = rollouts.current_memberships(tx, ids, model=rollout.plan.model)
        self._judge(tx, [m for m in members if m.rollout == rollout.id], said_by(tx, ids), rollout, now=now)
        self._judged_again[rollout.id] = ids[-1] if len(ids) == _AT_ONCE else ""
        return len(ids) == _AT_ONCE

    def _redate(self, tx: Transaction, rollout: Rollout, *, now: float) -> None:
        """Bring dates back that a clock wrote which was ahead."""
        changed, latest = redated(rollout, now=now), now + longest_s(rollout.plan) + SLACK_S
        members = rollouts.members_due_after(tx, rollout.id, after=latest, limit=_AT_ONCE)
        if changed is rollout and not members:
            return
        _log.warning(
            "rollout_dated_anew rollout=%s dated by a clock that was ahead, dated anew members=%d",
            rollout.id,
            len(members),
        )
        rollouts.save(tx, changed)
        rollouts.put_members(tx, [redated_member(member, rollout.plan, now=now) for member in members])

    def _end_overdue(self, tx: Transaction, rollout: Rollout, *, now: float) -> bool:
        """End members whose deadline has come, or that of their group; tell whether there may be more."""
        # In a pause, nothing runs out but what a device does by itself since it began to activate.
        states = [MemberState.ACTIVATING] if rollout.state is RolloutState.PAUSED else None
        members = rollouts.due_members(tx, rollout.id, now=now, limit=_AT_ONCE, states=states)
        if rollout.state is RolloutState.RUNNING:
            for group in self._overdue_groups(tx, rollout, now=now):
                members += rollouts.due_with_group(tx, rollout.id, group, now=now, limit=_AT_ONCE - len(members))
        live = devices.enrolled(tx, [member.device for member in members])
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
        last = rollout.plan.last_group
        waiting = [m for m in ended if m.state is MemberState.TIMED_OUT and m.group < last and m.generation]
        self.assigner.take_back(tx, waiting, rollout, now=now)
        rollouts.put_members(tx, ended)
        return len(members) >= _AT_ONCE

    def _overdue_groups(self, tx: Transaction, rollout: Rollout, *, now: float) -> list[int]:
        due = {i for i, one in enumerate(rollout.groups) if one.deadline_at is not None and one.deadline_at <= now}
        if not due:
            return []
        open_ones = {group for group, state, _, _ in rollouts.tallies(tx, rollout.id) if state in WITH_GROUP}
        return sorted(due & open_ones)

    def _leave_earlier(self, tx: Transaction, ids: Sequence[str], rollout: Rollout, *, now: float) -> None:
        """End what these devices had to do for an earlier rollout of the same model."""
        told = rollouts.current_memberships(tx, ids, model=rollout.plan.model)
        found = {(one.rollout, one.device): one for one in [*told, *rollouts.prepared_elsewhere(tx, ids, rollout)]}
        earlier = [
            judgement.excused(member, reason=Reason.SUPERSEDED, detail=f"by {rollout.id}", now=now)
            for member in found.values()
            if member.rollout != rollout.id and member.state in UNFINISHED | {MemberState.REVERTING}
        ]
        rollouts.put_members(tx, earlier)

    def _take_back_ended(self, tx: Transaction, turned: Sequence[Member], rollout: Rollout, *, now: float) -> None:
        """Take the version back from devices that were activating when the rollout broke off, and are not any more."""
        if rollout.state in machine.BROKEN_OFF_STATES:
            self.take_back(tx, turned, rollout, now=now)


def _explained(tx: Transaction, decision: Decision) -> Decision:
    """Add to a halt's reason what devices of its group gave as theirs."""
    rollout = decision.rollout
    states = (MemberState.FAILED, MemberState.EXCUSED, MemberState.REFUSED, MemberState.TIMED_OUT)
    found = [
        rollouts.members_of(tx, rollout.id, states=[state], group=decision.group, limit=_EXPLAINED) for state in states
    ]
    said = explain([member for some in found for member in some])
    more = f"; of each state {_EXPLAINED} were looked at" if any(len(some) == _EXPLAINED for some in found) else ""
    return dataclasses.replace(decision, rollout=replace(rollout, reason=f"{rollout.reason or ''}{said}{more}"))
