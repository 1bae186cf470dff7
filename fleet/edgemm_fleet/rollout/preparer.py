"""The preparer: chooses the members of large groups in parts, in a thread of its own.

A look at the devices holds nobody up, and each part that is written is small. A manager that is killed in the middle
goes on behind the members that are there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from edgemm.states import RolloutState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.rollout import machine, preparing
from edgemm_fleet.rollout.apart import Noting
from edgemm_fleet.rollout.pace import WorkPace
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, Transaction, rollouts
from edgemm_fleet.store.membership import prepared
from edgemm_fleet.worker import Worker

_CHOSEN = 50_000
"""Devices that one look chooses."""
_AT_ONCE = (100, 5000)
"""Devices that become members in one transaction, at least and at most."""
_ESTIMATED_AT, _GROWN = 1000, 8
_POLL_S = 1.0
_BETWEEN_S = 0.005
"""Between two parts, so that others get to write."""


@dataclass
class _Choice:
    """What was chosen of a group and is not written yet."""

    rollout: str
    group: int
    all_that_are_left: bool
    waiting: list[str] = field(default_factory=list)
    after: str = ""
    """The last device of those that are taken by id."""
    passed_over: set[str] = field(default_factory=set)
    written: int = 0
    estimated_at: int = field(default_factory=lambda: _ESTIMATED_AT)
    """When so many are written, the database is to know of them."""
    measured_again: bool = False
    """Whether nobody was found of those that the group was measured to have, and so it was measured anew."""


class Preparer:
    """Prepares groups; `wake` is called when one has started."""

    def __init__(
        self, store: Store, runner: Runner, *, clock: Callable[[], float], wake: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._runner, self._clock, self._wake = store, runner, clock, wake
        self._choice: _Choice | None = None
        self._failed: str | None = None
        """The rollout that met an error last: it waits for one step, so that others are not held up."""
        self._pace = WorkPace(least=_AT_ONCE[0], most=_AT_ONCE[1])
        self.worker = Worker("edgemm-preparer", self._work)

    def start(self) -> None:
        """Begin to prepare."""
        self.worker.start()

    def stop(self) -> None:
        """End after the part that is under way; the next start goes on."""
        self.worker.stop()

    def _work(self, stopping: threading.Event) -> None:
        while self.step(now=self._clock()):
            if stopping.wait(_BETWEEN_S):
                return
        stopping.wait(_POLL_S)

    def step(self, *, now: float) -> bool:
        """Do a part of what is to be prepared; tell whether there was anything to do."""
        with self._store.read() as tx:
            running = rollouts.in_states(tx, [RolloutState.RUNNING])
        failed, self._failed = self._failed, None
        if self._choice is not None and self._choice.rollout not in {one.id for one in running}:
            self._choice = None  # until it goes on, others may match
        for rollout in running:
            group = rollout.preparing
            if group is None or rollout.id == failed:
                continue
            did = False
            with Noting(self._store, rollout.id, failing=self._runner.not_prepared):
                did = self._prepare(rollout, group, now=now)
            if rollout.id in self._runner.not_prepared:
                self._failed = rollout.id
            elif did:
                return True
        return False

    def _prepare(self, rollout: Rollout, group: int, *, now: float) -> bool:
        if rollout.groups[group].size is None:
            self._measure(rollout, group, now=now)
            return True
        choice = self._chosen(rollout, group, now=now)
        if not choice.waiting:
            return self._start(rollout, group, choice, now=now)
        part = choice.waiting[: self._pace.size]
        with self._store.write() as tx, self._pace.held(len(part)):
            if not _is_being_prepared(rollouts.get(tx, rollout.id), group):
                return False
            choice.passed_over |= preparing.add(tx, rollout, group, part, now=now)
        del choice.waiting[: len(part)]
        choice.written += len(part)
        if choice.written >= choice.estimated_at:
            choice.estimated_at *= _GROWN
            with self._store.read() as tx:
                prepared.estimate(tx)
        return True

    def _measure(self, rollout: Rollout, group: int, *, now: float) -> None:
        with self._store.read() as tx:
            progress = preparing.measured(tx, rollout, group, now=now).groups[group]
        with self._store.write() as tx:
            current = rollouts.get(tx, rollout.id)
            if _is_being_prepared(current, group):
                matching, size = progress.matching or 0, progress.size or 0
                rollouts.save(tx, machine.measured(current, group, matching=matching, size=size))

    def _chosen(self, rollout: Rollout, group: int, *, now: float) -> _Choice:
        choice = self._choice
        if choice is None or (choice.rollout, choice.group) != (rollout.id, group):
            with self._store.read() as tx:
                everybody = preparing.takes_all(tx, rollout, group, now=now)
            choice = self._choice = _Choice(rollout.id, group, everybody)
        while not choice.waiting:
            with self._store.read() as tx:
                found = self._look(tx, rollout, group, choice, now=now)
                choice.waiting, unfit = preparing.readable(tx, found)
            choice.passed_over |= unfit
            if not found:
                break
        return choice

    def _look(self, tx: Transaction, rollout: Rollout, group: int, choice: _Choice, *, now: float) -> list[str]:
        """Return the next of the devices that a group is still to take; none: there are no more."""
        passed_over = choice.passed_over
        if not choice.all_that_are_left:
            return preparing.chosen(tx, rollout, group, but_for=passed_over, limit=_CHOSEN, now=now)
        again = preparing.chosen_again(tx, rollout, group, but_for=passed_over, limit=_CHOSEN, now=now)
        if again or not (most := self._most(tx, rollout, group)):
            return again
        found = preparing.choice(tx, rollout, now=now).all_further(after=choice.after, limit=most)
        choice.after = found[-1] if found else choice.after
        return found

    @staticmethod
    def _most(tx: Transaction, rollout: Rollout, group: int) -> int:
        """Return of how many devices those that are left are at once: who came since is one of them, of all."""
        everybody = rollout.plan.groups[group].percent == 100
        return _CHOSEN if everybody else min(preparing.left(tx, rollout, group), _CHOSEN)

    def _start(self, rollout: Rollout, group: int, choice: _Choice, *, now: float) -> bool:
        if not choice.measured_again:
            with self._store.read() as tx:
                changed = preparing.finds_nobody(tx, rollout, group, choice.passed_over)
            if changed:  # since it was measured
                self._measure(rollout, group, now=now)
                self._choice = _Choice(rollout.id, group, all_that_are_left=False, measured_again=True)
                return True
        done = False
        self._choice = None
        with self._store.write() as tx:
            current = rollouts.get(tx, rollout.id)
            if _is_being_prepared(current, group):
                self._runner.start_group(tx, preparing.settled(tx, current, group, choice.passed_over), group, now=now)
                self._runner.advance(tx, rollout.id, now=now)
                done = True
        if done:
            self._wake()
        return done


def _is_being_prepared(rollout: Rollout, group: int) -> bool:
    return rollout.state is RolloutState.RUNNING and rollout.preparing == group
