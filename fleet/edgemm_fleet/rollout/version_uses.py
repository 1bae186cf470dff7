"""The uses of versions that are to be withdrawn: rollouts, shadows, and devices that are told to run them.

A device that runs such a version goes on running it, and stays assigned to it: to tell it nothing would be to stop the
model. Whoever was told and does not run it yet is told what it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgemm.errors import ConflictError
from edgemm.messages import Reported
from edgemm.states import RolloutState, UpdateState
from edgemm_fleet.rollout import machine
from edgemm_fleet.rollout.machine import Decision, Effect
from edgemm_fleet.rollout.reversal import active_model
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Transaction, assignments, audit, reported, rollouts, shadows

_RUNNING = (RolloutState.RUNNING, RolloutState.PAUSED)
_BEGUN = frozenset({UpdateState.ACTIVATING, UpdateState.PROBATION})
_NAMED = 10


@dataclass(frozen=True)
class VersionUses:
    """Who uses some versions of one model: ids of rollouts that run, and of devices.

    `running` run them, or have begun to activate them; `waiting` are told to and do not yet.
    """

    rollouts: tuple[str, ...] = ()
    shadows: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    def told(self) -> str:
        """Return them in words, empty where there are none."""
        told = sorted((*self.running, *self.waiting))
        parts = (
            f"{_words('rollout', self.rollouts)} running" if self.rollouts else "",
            f"{_words('device', told)} told to run it" if told else "",
            f"a shadow on {_words('device', self.shadows)}" if self.shadows else "",
        )
        return "; ".join(filter(None, parts))


def find_uses(tx: Transaction, model: str, digests: Collection[str]) -> VersionUses:
    """Return who uses versions of a model; no digest, no use."""
    if not digests:
        return VersionUses()
    running, waiting = list[str](), list[str]()
    for part in assignments.told(tx, model, digests):
        reports = reported.of(tx, part)
        for device in part:
            report = reports[device].reported if device in reports else None
            (running if _runs(model, digests, report) else waiting).append(device)
    return VersionUses(
        rollouts=tuple(one.id for one in rollouts.in_states(tx, _RUNNING, model=model) if one.plan.digest in digests),
        shadows=tuple(shadows.wanting(tx, model, digests)),
        running=tuple(running),
        waiting=tuple(waiting),
    )


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


def end_uses(
    tx: Transaction, model: str, digests: Collection[str], *, runner: Runner, actor: str, now: float
) -> VersionUses:
    """End what uses versions of a model, but for the devices that run them; return who did."""
    before = find_uses(tx, model, digests)
    for rollout_id in before.rollouts:
        reason = "its version was withdrawn"
        moved = machine.move(rollouts.get(tx, rollout_id), RolloutState.HALTED, reason=reason, now=now)
        runner.apply(tx, Decision(moved, Effect.WITHDRAW), now=now)
        audit.add(tx, at=now, actor=actor, action="rollout.halt", subject=rollout_id, detail=reason)
    if before.shadows:
        runner.director.write(tx, shadows.drop(tx, before.shadows, model), now=now)
    for part in assignments.told(tx, model, digests):
        reports = reported.of(tx, part)
        said = {device: reports[device].reported if device in reports else None for device in part}
        waiting = {device: report for device, report in said.items() if not _runs(model, digests, report)}
        _tell_what_runs(tx, model, waiting, runner=runner, now=now)
    return before


def _tell_what_runs(
    tx: Transaction, model: str, waiting: dict[str, Reported | None], *, runner: Runner, now: float
) -> None:
    active = {device: active_model(model, report, None) for device, report in waiting.items()}
    runner.assigner.want(tx, active, model, now=now)


def _runs(model: str, digests: Collection[str], report: Reported | None) -> bool:
    entry = next((one for one in report.models if one.name == model), None) if report is not None else None
    if entry is None:
        return False
    return entry.active_digest in digests or (entry.digest in digests and entry.state in _BEGUN)


def _words(noun: str, ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return f"{len(ids):,} {noun}{'s' if len(ids) > 1 else ''} ({', '.join(ids[:_NAMED])}{more})"
