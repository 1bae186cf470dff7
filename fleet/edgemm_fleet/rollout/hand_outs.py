"""The hand-outs of rollouts: members are told, or what they were told is taken back, a part at a time.

A start and a halt change one row. Whoever sends asks here for the next part: what is to be taken back comes before
anything that is told anew. Each part is one short transaction, which looks at the rollout's state, and in which the
devices are noted as told before anything is published. So a manager that is killed takes back too much rather than too
little. Between two messages, a sender compares the `epoch`: another one says that what it read is not to be sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgemm.messages import Desired
from edgemm.states import RolloutState
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.rollout import machine
from edgemm_fleet.rollout.apart import apart
from edgemm_fleet.rollout.pace import WorkPace
from edgemm_fleet.rollout.runner import WAITING, Runner
from edgemm_fleet.store import Store, Transaction, rollouts
from edgemm_fleet.store.membership import prepared

_ENDED = (MemberState.FAILED, MemberState.EXCUSED)
_LOOKED_AT = 5000
"""Members that are looked at for those that ended."""
_NEVER_TOLD_AT_ONCE = (100, 1000)
_REST_S = 1.0
"""How long a rollout that met an error is left alone."""


class HandOuts:
    """Tells members of rollouts, in parts."""

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store, self._runner = store, runner
        self._telling, self._taking_back = WorkPace(), WorkPace()
        self._withdrawing = WorkPace(least=_NEVER_TOLD_AT_ONCE[0], most=_NEVER_TOLD_AT_ONCE[1])
        self._rests: dict[str, float] = {}
        self._told_last = self._taken_back_last = ""
        """The rollout that had its turn last: one that is large must not keep the others from theirs."""

    @property
    def epoch(self) -> int:
        """Another one after each commit by which something is not to be sent any more that was to be before."""
        return self._runner.epoch

    def take_back(self, *, now: float) -> list[str] | None:
        """Take the version of rollouts back from some members; return who may be told anew by it, None: nobody is left.

        Those are few; the rest comes with the next calls.
        """
        with self._store.read() as tx:
            found = [one for one in rollouts.being_taken_back(tx) if not self._rests_at(one.id, now)]
        for rollout in _behind(self._taken_back_last, found):
            self._taken_back_last = rollout.id
            broken_off = rollout.state in machine.BROKEN_OFF_STATES
            if (told := self._withdraw(rollout, now=now) if broken_off else self._revert(rollout, now=now)) is not None:
                return told
        return None

    def withheld(self, waiting: Sequence[Desired]) -> frozenset[str]:
        """Return the devices of which a version that they are about to be told is still to be taken back.

        Where an error holds that up, the version must not get out meanwhile.
        """
        with self._store.read() as tx:
            found = set[str]()
            for rollout, state in rollouts.states_taking_back(tx).items():
                ids = [one.device for one in waiting if any(model.rollout == rollout for model in one.models)]
                keep = rollouts.committed_among(tx, rollout, ids) if state in machine.BROKEN_OFF_STATES else set()
                found |= set(ids) - keep
        return frozenset(found)

    def hand_out(self, *, now: float) -> list[str]:
        """Tell some prepared members of a group that has started; return their devices, of which none are left at last.

        They are noted as told in a transaction that saw the rollout run.
        """
        with self._store.read() as tx:
            running = [one for one in rollouts.in_states(tx, [RolloutState.RUNNING]) if _untold(tx, one, now=now)]
        for rollout in _behind(self._told_last, running):
            self._told_last = rollout.id
            if not self._rests_at(rollout.id, now) and (told := self._tell(rollout, now=now)):
                return told
        return []

    def _tell(self, rollout: Rollout, *, now: float) -> list[str]:
        told: list[str] = []
        well = False
        with self._store.write() as tx, self._telling.held(lambda: len(told)), apart(tx, rollout.id):
            current = rollouts.get(tx, rollout.id)
            if current.state is RolloutState.RUNNING:
                limit = self._telling.size
                groups = _untold(tx, current, now=now)
                members = rollouts.prepared_members(tx, rollout.id, groups=groups, limit=limit, now=now)
                told = [member.device for member in members]
                self._runner.tell(tx, members, current, now=now)
            well = True
        return told if self._went(well, rollout.id, now, failing=self._runner.not_handed_out) else []

    def _withdraw(self, rollout: Rollout, *, now: float) -> list[str] | None:
        """Take the version of a rollout that was broken off back; None: that is done."""
        limit = self._taking_back.size
        with self._store.read() as tx:
            waiting = ids = rollouts.waiting_devices(tx, rollout.id, states=WAITING, limit=limit)
            untold = not ids and rollouts.number_prepared(tx, rollout.id)
            after = rollout.taken_back
            if not ids and not untold:  # who failed is wanted to keep what it runs
                ids, after = rollouts.members_looked_at(
                    tx, rollout.id, after=after or "", states=_ENDED, limit=limit, most=_LOOKED_AT
                )
        if untold:
            return self._withdraw_prepared(rollout, now=now)
        well = False
        with self._store.write() as tx, self._taking_back.held(len(ids)), apart(tx, rollout.id):
            current = rollouts.get(tx, rollout.id)
            if current.state in machine.BROKEN_OFF_STATES and current.taken_back is not None:
                rollouts.save(tx, machine.taken_back(current, after))
                if waiting:
                    found = rollouts.waiting_members(tx, rollout.id, waiting, now=now)
                else:
                    found = rollouts.members_among(tx, rollout.id, ids)
                self._runner.take_back(tx, found, current, now=now)
            well = True
        went = self._went(well, rollout.id, now, failing=self._runner.not_taken_back)
        return ids if went and (ids or after is not None) else None

    def _revert(self, rollout: Rollout, *, now: float) -> list[str] | None:
        """Have some members of a rollout that is rolled back run what they ran before; None: that is done."""
        with self._store.read() as tx:
            untold = rollouts.number_prepared(tx, rollout.id)
            after, limit = rollout.taken_back or "", self._taking_back.size
            ids = [] if untold else rollouts.members_after(tx, rollout.id, after=after, limit=limit)
        if untold:
            return self._withdraw_prepared(rollout, now=now)
        well = False
        with self._store.write() as tx, self._taking_back.held(len(ids)), apart(tx, rollout.id):
            current = rollouts.get(tx, rollout.id)
            if current.state is rollout.state and current.taken_back is not None:
                rollouts.save(tx, machine.taken_back(current, ids[-1] if ids else None))
                self._runner.revert(tx, rollouts.members_among(tx, rollout.id, ids), current, now=now)
                self._runner.advance(tx, rollout.id, now=now)
            well = True
        return ids if self._went(well, rollout.id, now, failing=self._runner.not_taken_back) and ids else None

    def _withdraw_prepared(self, rollout: Rollout, *, now: float) -> list[str]:
        """End members that were never told: of them nothing else is to be done."""
        with self._store.write() as tx, self._withdrawing.held(self._withdrawing.size):
            if rollouts.get(tx, rollout.id).taken_back is not None:
                prepared.withdraw(tx, rollout.id, limit=self._withdrawing.size, now=now)
        return []

    def _rests_at(self, rollout: str, now: float) -> bool:
        return 0 <= now - self._rests.get(rollout, now - _REST_S) < _REST_S

    def _went(self, well: bool, rollout: str, now: float, *, failing: set[str]) -> bool:  # noqa: FBT001 - its name says what it is
        if well:
            self._rests.pop(rollout, None)
            failing.discard(rollout)
        else:
            self._rests[rollout] = now
            failing.add(rollout)
        return well


def _behind(last: str, found: Sequence[Rollout]) -> Sequence[Rollout]:
    """Return the rollouts in turn, those behind the one that had its turn last first."""
    at = next((index + 1 for index, one in enumerate(found) if one.id == last), 0)
    return [*found[at:], *found[:at]]


def _untold(tx: Transaction, rollout: Rollout, *, now: float) -> Sequence[int]:
    """Return the groups that have started, are not past their deadline, and have members who are not told yet."""
    prepared = {group for group, state, _, _ in rollouts.tallies(tx, rollout.id) if state is MemberState.PREPARED}
    return [group for group in sorted(prepared) if rollout.groups[group].runs_at(now)]
