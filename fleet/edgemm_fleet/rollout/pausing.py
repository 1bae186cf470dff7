"""A person's decisions about a rollout that runs: to pause it, to resume it, to start its next group now. Pure.

* In a pause no further device is told. Whom a group told before goes on and reports, and thresholds still halt.
* Deadlines stand still in a pause: `resumed` puts off those of groups and so of their members, of soaks, and of what
  the rollout waited for by its length. What a device had begun to activate before keeps its own deadline.
* `gone_on` is the approval of the next group: it spares a soak or a waiting, never a threshold.
* Each is the same twice: who repeats one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from edgemm.errors import ConflictError
from edgemm.states import RolloutState
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.waiting import RolloutWait, WaitKind
from edgemm_fleet.rollout.group_tally import GroupTally, GroupVerdict
from edgemm_fleet.rollout.machine import Decision, move, prepare_group, with_group

_R = RolloutState


def paused(rollout: Rollout, *, reason: str, limit_s: float, now: float) -> Rollout:
    """Return the rollout paused for so long at most; the same value if it is.

    Raises:
        ConflictError: it does not run.
    """
    if rollout.state is _R.PAUSED:
        return rollout
    waiting = RolloutWait.begun(WaitKind.PAUSE, reason=reason, now=now, limit_s=limit_s, interrupted=rollout.waiting)
    return replace(move(rollout, _R.PAUSED, now=now), waiting=waiting)


def resumed(rollout: Rollout, *, now: float) -> tuple[Rollout, float]:
    """Return the rollout running again, and for how many seconds it stood still; itself and 0 if it runs.

    Raises:
        ConflictError: it neither runs nor is paused.
    """
    if rollout.state is _R.RUNNING:
        return rollout, 0.0
    pause = rollout.waiting
    if rollout.state is not _R.PAUSED:
        start = f"; next: edgemm fleet rollout start {rollout.id}" if rollout.state is _R.DRAFT else ""
        raise ConflictError(f"rollout {rollout.id} is {rollout.state}: only one that is paused can be resumed{start}")
    by_s = max(0.0, now - (pause.since if pause else rollout.changed_at))
    interrupted = pause.interrupted.put_off(by_s) if pause and pause.interrupted else None
    groups = tuple(_put_off(group, by_s) for group in rollout.groups)
    return replace(move(rollout, _R.RUNNING, now=now), groups=groups, waiting=interrupted), by_s


def gone_on(rollout: Rollout, tallies: Mapping[int, GroupTally], *, after: int, now: float) -> Decision | None:
    """Return the step past a group that has reached its success threshold; None if it was done before.

    Args:
        rollout: the rollout.
        tallies: the numbers of its groups.
        after: index of the group after which it is to go on.
        now: the time, in seconds since the epoch.

    Raises:
        ConflictError: it does not run, the group has not begun, or has not reached its success threshold.
    """
    last, current = rollout.plan.last_group, rollout.current_group
    if rollout.state is _R.FINISHED and after <= last:
        return None
    if rollout.state is not _R.RUNNING:
        hint = f"resume it first: edgemm fleet rollout resume {rollout.id}" if rollout.state is _R.PAUSED else ""
        raise ConflictError(
            f"rollout {rollout.id} is {rollout.state}, so no group of it starts; {hint or 'only one that runs goes on'}"
        )
    if current is None or after > current:
        raise ConflictError(f"rollout {rollout.id}: group {after + 1} has not begun, so none can start after it")
    progress = rollout.groups[after]
    if after < current or rollout.preparing is not None or (after == last and progress.passed_at is not None):
        return None
    tally = tallies.get(after, GroupTally())
    verdict = tally.verdict(rollout.plan.groups[after])
    if progress.passed_at is None and verdict is not GroupVerdict.ENOUGH_SUCCESSES:
        raise ConflictError(
            f"rollout {rollout.id}: group {after + 1} has not reached its success threshold: of {tally.members} "
            f"devices {tally.reported} reported, {tally.committed} committed; wait for it, or halt the rollout"
        )
    through = replace(progress, met_at=progress.met_at or now, passed_at=progress.passed_at or now)
    passed = replace(with_group(rollout, after, through, now=now), waiting=None)
    return Decision(passed) if after == last else prepare_group(passed, after + 1, now=now)


def _put_off(group: GroupProgress, by_s: float) -> GroupProgress:
    deadline_at = None if group.deadline_at is None else group.deadline_at + by_s
    soaks = group.met_at is not None and group.passed_at is None
    met_at = group.met_at + by_s if group.met_at is not None and soaks else group.met_at
    return replace(group, deadline_at=deadline_at, met_at=met_at)
