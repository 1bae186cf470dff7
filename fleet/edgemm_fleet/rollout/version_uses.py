"""The uses of versions that are to be withdrawn: rollouts, shadows, and devices that are told to run them.

A device that runs such a version goes on running it, and stays assigned to it: to tell it nothing would be to stop the
model. Whoever was told and does not run it yet is told what it runs.

All devices that have the model are looked at, page by page, and a few are changed in each transaction. So uses may
begin behind the look: whoever withdraws asks `check_begun` in the transaction from which on none begins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgemm.errors import ConflictError
from edgemm.messages import DesiredModel, Reported
from edgemm.states import RolloutState, UpdateState
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.rollout import machine
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.pace import WorkPace
from edgemm_fleet.rollout.reversal import active_model
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, Transaction, assignments, audit, reported, rollouts, shadows

_RUNNING = (RolloutState.RUNNING, RolloutState.PAUSED)
_BEGUN = frozenset({UpdateState.ACTIVATING, UpdateState.PROBATION})
_BEGINNING = ("rollout.start", "rollout.roll_back", "shadow.set")
"""Acts by which a version comes to be used."""
_LOOKED_AT = 500
_NAMED = 10
_Page = Callable[[Transaction, str, Collection[str], str, int], tuple[list[str], str | None]]


@dataclass(frozen=True)
class UsingDevices:
    """How many devices use something, and the first of them by id, ten at most."""

    number: int = 0
    named: tuple[str, ...] = ()

    def more(self, ids: Sequence[str]) -> UsingDevices:
        """Return these and some more, whose ids come behind."""
        return UsingDevices(self.number + len(ids), (*self.named, *ids[: _NAMED - len(self.named)]))


@dataclass(frozen=True)
class VersionUses:
    """Who uses some versions of one model: ids of rollouts that run, and devices.

    `running` run them, or have begun to activate them; `waiting` are told to and do not yet. `last_act` was the last
    line of the audit log before the look.
    """

    rollouts: tuple[str, ...] = ()
    shadows: UsingDevices = UsingDevices()
    running: UsingDevices = UsingDevices()
    waiting: UsingDevices = UsingDevices()
    last_act: int = 0

    def told(self) -> str:
        """Return them in words, empty where there are none."""
        named = tuple(sorted((*self.running.named, *self.waiting.named))[:_NAMED])
        told = UsingDevices(self.running.number + self.waiting.number, named)
        parts = (
            f"{_words('rollout', self.rollouts, len(self.rollouts))} running" if self.rollouts else "",
            f"{_words('device', told.named, told.number)} told to run it" if told.number else "",
            f"a shadow on {_words('device', self.shadows.named, self.shadows.number)}" if self.shadows.number else "",
        )
        return "; ".join(filter(None, parts))


class UsesOfVersions:
    """The uses of some versions of a model, by their digests; no digest, no use."""

    def __init__(self, store: Store, runner: Runner, model: str, digests: Collection[str]) -> None:
        self._store, self._runner = store, runner
        self._model, self._digests = model, digests
        self._pace = WorkPace()

    def find(self) -> VersionUses:
        """Return who uses them."""
        return self._all(lambda _: None, lambda _: None)

    def end(self, *, actor: str, now: float) -> VersionUses:
        """End what uses them, but for the devices that run them; return who did."""
        halted = list[str]()
        if self._digests:
            with self._store.write() as tx:
                halted = self._halt(tx, actor=actor, now=now)

        def without_shadow(tx: Transaction, ids: Sequence[str]) -> None:
            self._runner.director.write(tx, shadows.drop(tx, ids, self._model), now=now)

        def told_what_runs(tx: Transaction, ids: Sequence[str]) -> None:
            mine = [one for one, models in assignments.of(tx, ids).items() if self._is_meant(models)]
            _, waiting = self._parted(tx, mine)
            active = {device: active_model(self._model, report, None) for device, report in waiting.items()}
            self._runner.assigner.want(tx, active, self._model, now=now)

        found = self._all(
            lambda ids: self._in_parts(ids, without_shadow), lambda ids: self._in_parts(ids, told_what_runs)
        )
        return replace(found, rollouts=tuple(halted))

    def check_begun(self, tx: Transaction, since: VersionUses, *, force: bool, actor: str, now: float) -> None:
        """Refuse versions that came to be used since a look; or halt their rollouts, where that is forced.

        Raises:
            ConflictError: they did.
        """
        if not self._digests:  # as where only the minimum is another: nothing was looked for
            return
        if force:
            self._halt(tx, actor=actor, now=now)
            return
        acts = audit.since(tx, since.last_act, actions=_BEGINNING)
        plans = rollouts.plans(tx, {act.subject for act in acts})
        begun = [
            act for act in acts if act.subject == self._model or self._may_bring(plans.get(act.subject), act.action)
        ]
        if begun:
            raise ConflictError(
                f"{self._model}: {begun[0].actor} did {begun[0].action} {begun[0].subject} meanwhile, so the versions "
                "may be in use by now; nothing was withdrawn: do it again"
            )

    def _all(self, shadowed: Callable[[list[str]], None], waits: Callable[[list[str]], None]) -> VersionUses:
        """Look at all; the calls have the devices of one page that have a shadow, and those that wait."""
        if not self._digests:
            return VersionUses()
        with self._store.read() as tx:
            found = VersionUses(rollouts=tuple(self._rollouts(tx)), last_act=audit.last(tx))
        for ids in self._pages(shadows.wanting):
            found = replace(found, shadows=found.shadows.more(ids))
            shadowed(ids)
        for ids in self._pages(assignments.told):
            with self._store.read() as tx:
                running, waiting = self._parted(tx, ids)
            found = replace(found, running=found.running.more(running), waiting=found.waiting.more(list(waiting)))
            waits(list(waiting))
        return found

    def _pages(self, page: _Page) -> Iterator[list[str]]:
        after: str | None = ""
        while after is not None:
            with self._store.read() as tx:
                ids, after = page(tx, self._model, self._digests, after, _LOOKED_AT)
            yield ids

    def _parted(self, tx: Transaction, ids: Sequence[str]) -> tuple[list[str], dict[str, Reported | None]]:
        """Return which of these devices run a version, and what the others reported."""
        reports = reported.of(tx, ids)
        said = {device: reports[device].reported if device in reports else None for device in ids}
        waiting = {device: report for device, report in said.items() if not _runs(self._model, self._digests, report)}
        return [device for device in ids if device not in waiting], waiting

    def _in_parts(self, ids: list[str], act: Callable[[Transaction, Sequence[str]], None]) -> None:
        while ids:
            part = ids[: self._pace.size]
            with self._store.write() as tx, self._pace.held(len(part)):
                act(tx, part)
            del ids[: len(part)]

    def _halt(self, tx: Transaction, *, actor: str, now: float) -> list[str]:
        ids = self._rollouts(tx)
        for rollout_id in ids:
            reason = "its version was withdrawn"
            moved = machine.move(rollouts.get(tx, rollout_id), RolloutState.HALTED, reason=reason, now=now)
            self._runner.apply(tx, Decision(moved, Effect.WITHDRAW), now=now)
            audit.add(tx, at=now, actor=actor, action="rollout.halt", subject=rollout_id, detail=reason)
        return ids

    def _rollouts(self, tx: Transaction) -> list[str]:
        found = rollouts.in_states(tx, _RUNNING, model=self._model)
        return [one.id for one in found if one.plan.digest in self._digests]

    def _is_meant(self, models: Mapping[str, DesiredModel]) -> bool:
        return self._model in models and models[self._model].digest in self._digests

    def _may_bring(self, plan: RolloutPlan | None, action: str) -> bool:
        """Tell whether a rollout's start, or its way back, may bring a version to devices."""
        if plan is None or plan.model != self._model:
            return False
        return action == "rollout.roll_back" or plan.digest in self._digests


def check_unused(model: str, versions: Sequence[str], uses: VersionUses) -> None:
    """Refuse the withdrawal of versions that are in use.

    Raises:
        ConflictError: they are.
    """
    if told := uses.told():
        raise ConflictError(
            f"{model} {', '.join(versions[:_NAMED])}: in use: {told}; roll out another version there first, or "
            "withdraw with --force (`force`): rollouts halt, shadows end, what runs goes on, nobody is told of it anew"
        )


def _runs(model: str, digests: Collection[str], report: Reported | None) -> bool:
    entry = next((one for one in report.models if one.name == model), None) if report is not None else None
    if entry is None:
        return False
    return entry.active_digest in digests or (entry.digest in digests and entry.state in _BEGUN)


def _words(noun: str, named: Sequence[str], number: int) -> str:
    more = f" and {number - _NAMED:,} more" if number > _NAMED else ""
    return f"{number:,} {noun}{'s' if number > 1 else ''} ({', '.join(named[:_NAMED])}{more})"
