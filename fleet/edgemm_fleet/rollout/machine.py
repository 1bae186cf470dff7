"""The rollout state machine: decides the next step of a rollout.

A rollout advances group by group:

* a group is prepared only when the one before it reached its success threshold and soaked, and starts when its members
  are chosen;
* one group above its error threshold, whichever of those that started, halts the whole rollout, once;
* one that reaches nobody at all halts it too, unless the plan allows that: what nobody ran is not proven;
* a group that waits for a person starts when one says so (`pausing.gone_on`), and a paused rollout starts none;
* everything unfinished has a deadline: members have their own, a draft and a roll-back have the rollout's, and what a
  rollout waits for has an end, at which it halts.

`decide` is called with the numbers after each change, again and again until it has nothing more to say. Time and
numbers are arguments: nothing here reads a clock, a socket or a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from msgspec.structs import replace

from edgemm import __version__, times
from edgemm.errors import ConflictError
from edgemm.reasons import Reason
from edgemm.requirements import refusal
from edgemm.states import ROLLOUT_FOLLOWS, RolloutState
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait, WaitKind
from edgemm_fleet.rollout.group_tally import GroupTally, GroupVerdict

_R = RolloutState
JUDGING_STATES = frozenset({_R.RUNNING, _R.PAUSED})
"""States in which a rollout is held against its thresholds."""
OPEN_STATES = JUDGING_STATES | {_R.ROLLING_BACK}
"""States in which a rollout acts by itself."""
BROKEN_OFF_STATES = frozenset({_R.HALTED, _R.CANCELED})
"""States in which its version is wanted of no device that has not committed it."""
_TAKES_BACK = BROKEN_OFF_STATES | {_R.ROLLING_BACK}


class Effect(Enum):
    """What has to be done to devices along with a decision."""

    NONE = "none"
    PREPARE_GROUP = "prepare_group"
    """Begin with preparing: choose the members of the group, which then starts."""
    WITHDRAW = "withdraw"
    """Tell no further member, and have `desired` say what is active for each that has not begun to activate."""


@dataclass(frozen=True)
class Decision:
    """The rollout as it is from now on, and what has to be done with it; `group` is the one that it is about.

    Where that group `failed`, its devices' own reasons belong to the rollout's.
    """

    rollout: Rollout
    effect: Effect = Effect.NONE
    group: int = 0
    failed: bool = False


def decide(rollout: Rollout, tallies: Mapping[int, GroupTally], *, now: float) -> Decision | None:
    """Return the next step of a rollout, or None when there is nothing to do now.

    One whose plan needs what is not known here halts; in a state that is not known here nothing is done at all.
    """
    match rollout.state:
        case _R.RUNNING if unknown := rollout.plan.unknown:
            halted = move(rollout, _R.HALTED, reason=f"{Reason.UNSUPPORTED}: it {refusal(unknown)}", now=now)
            return Decision(halted, Effect.WITHDRAW)
        case _R.RUNNING:
            return _run(rollout, tallies, now=now)
        case _R.PAUSED:
            return _stand_still(rollout, tallies, now=now)
        case _R.ROLLING_BACK:
            return _roll_back(rollout, tallies, now=now)
        case _R.DRAFT | _R.READY if rollout.deadline_at is not None and rollout.deadline_at <= now:
            return Decision(move(rollout, _R.CANCELED, reason="it was never started", now=now))
        case _:
            return None


def move(rollout: Rollout, state: RolloutState, *, now: float, reason: str | None = None) -> Rollout:
    """Return the rollout in another state, without a deadline, and waiting for nothing.

    Raises:
        ConflictError: that state cannot follow.
    """
    if not rollout.state.known:
        raise ConflictError(
            f"rollout {rollout.id} is {rollout.state}, a state that edgemm {__version__} does not know: "
            "upgrade the fleet manager"
        )
    if state not in ROLLOUT_FOLLOWS[rollout.state]:
        possible = ", ".join(sorted(ROLLOUT_FOLLOWS[rollout.state])) or "nothing: it is over"
        step = _next_step(rollout, state)
        raise ConflictError(
            f"rollout {rollout.id} is {rollout.state}, it cannot become {state}; possible: {possible}{step}"
        )
    told = rollout.state not in {_R.DRAFT, _R.READY}
    taken_back = "" if told and state in _TAKES_BACK else rollout.taken_back
    return replace(
        rollout, state=state, reason=reason, changed_at=now, deadline_at=None, waiting=None, taken_back=taken_back
    )


def _next_step(rollout: Rollout, wanted: RolloutState) -> str:
    """Return what who asked for a state that cannot follow may do instead."""
    begins = wanted in {_R.READY, _R.RUNNING, _R.PAUSED}
    match rollout.state:
        case _R.DRAFT | _R.READY:
            act = "start" if begins else "cancel"
        case _R.PAUSED if begins:
            act = "resume"
        case _R.FINISHED | _R.HALTED | _R.ROLLED_BACK | _R.CANCELED if begins:
            return "; next: make another, by edgemm fleet rollout create"
        case _:
            return ""
    return f"; next: edgemm fleet rollout {act} {rollout.id}"


def measured(rollout: Rollout, group: int, *, matching: int, size: int) -> Rollout:
    """Return the rollout with how many devices match, and how many of them a group that is prepared takes."""
    progress = replace(rollout.groups[group], matching=matching, size=size)
    return replace(rollout, groups=(*rollout.groups[:group], progress, *rollout.groups[group + 1 :]))


def taken_back(rollout: Rollout, after: str | None) -> Rollout:
    """Return the rollout with its version taken back from its members up to this one; None: from all."""
    return replace(rollout, taken_back=after)


def check_overlap(plan: RolloutPlan, running: Mapping[str, RolloutPlan]) -> None:
    """Refuse a plan whose devices and model another running rollout has.

    Args:
        plan: the plan to start.
        running: id → plan of the rollouts that run or roll back.

    Raises:
        ConflictError: they overlap, and the plan does not supersede that rollout.
    """
    for rollout, other in running.items():
        if rollout != plan.supersedes and other.model == plan.model and plan.may_overlap(other):
            raise ConflictError(
                f"rollout {rollout} of {other.model} {other.version} runs and may have the same devices: wait for it, "
                f"cancel it, or supersede it (--supersede {rollout})"
            )


def _run(rollout: Rollout, tallies: Mapping[int, GroupTally], *, now: float) -> Decision | None:
    verdicts = _verdicts(rollout, tallies)
    if halted := _broken_off(rollout, tallies, verdicts, now=now):
        return halted
    for index, verdict in verdicts.items():
        if changed := _progress(rollout, index, verdict=verdict, now=now):
            return Decision(changed)
    return _go_on(rollout, tallies, now=now)


def _stand_still(rollout: Rollout, tallies: Mapping[int, GroupTally], *, now: float) -> Decision | None:
    """Halt a paused rollout by its thresholds or at the pause's end; its soaks break off, and neither begin nor end."""
    if rollout.waiting is None:  # nothing that we wrote; it is to end all the same
        pause = RolloutWait.begun(WaitKind.PAUSE, reason="its end was not noted", now=now)
        return Decision(replace(rollout, waiting=pause))
    verdicts = _verdicts(rollout, tallies)
    if halted := _broken_off(rollout, tallies, verdicts, now=now):
        return halted
    for index, verdict in verdicts.items():
        progress = rollout.groups[index]
        if progress.met_at and progress.passed_at is None and verdict is not GroupVerdict.ENOUGH_SUCCESSES:
            return Decision(with_group(rollout, index, replace(progress, met_at=None), now=now))
    return None


def _verdicts(rollout: Rollout, tallies: Mapping[int, GroupTally]) -> dict[int, GroupVerdict]:
    """Return index → what the numbers say, of each group that has started."""
    started = [index for index, progress in enumerate(rollout.groups) if progress.started_at is not None]
    return {index: tallies.get(index, GroupTally()).verdict(rollout.plan.groups[index]) for index in started}


def _broken_off(
    rollout: Rollout, tallies: Mapping[int, GroupTally], verdicts: Mapping[int, GroupVerdict], *, now: float
) -> Decision | None:
    """Halt where a group's numbers say so, or where nobody relieved the rollout of its waiting in time."""
    for index, verdict in verdicts.items():
        tally = tallies.get(index, GroupTally())
        if reason := _failure(verdict, tally, index) or _emptiness(rollout, tally, index):
            return Decision(move(rollout, _R.HALTED, reason=reason, now=now), Effect.WITHDRAW, index, failed=True)
    waiting = rollout.waiting
    if waiting is None or waiting.until > now:
        return None
    reason = f"{waiting.then}: it waited for {times.span(now - waiting.since)}: {waiting.reason}"
    return Decision(move(rollout, _R.HALTED, reason=reason, now=now), Effect.WITHDRAW)


def _go_on(rollout: Rollout, tallies: Mapping[int, GroupTally], *, now: float) -> Decision | None:
    """Start the group after one that is through; finish after the last, when nothing is unfinished any more."""
    current = rollout.current_group
    if rollout.preparing is not None or rollout.waiting is not None:
        return None
    if current is None:
        return prepare_group(rollout, 0, now=now)
    if rollout.groups[current].passed_at is None:
        return None
    if current < rollout.plan.last_group:
        return _follow(rollout, current + 1, now=now)
    if any(one.unfinished for one in tallies.values()):
        return None
    return Decision(move(rollout, _R.FINISHED, now=now))


def _follow(rollout: Rollout, group: int, *, now: float) -> Decision:
    if not rollout.plan.groups[group].approve:
        return prepare_group(rollout, group, now=now)
    reason = f"group {group} is through, and group {group + 1} needs a person's approval"
    waiting = RolloutWait.begun(WaitKind.PERSON, reason=reason, now=now)
    return Decision(replace(rollout, waiting=waiting, changed_at=now))


def prepare_group(rollout: Rollout, group: int, *, now: float) -> Decision:
    """Return the beginning of a group: its members are chosen, and then it starts."""
    return Decision(with_group(rollout, group, GroupProgress(preparing_at=now), now=now), Effect.PREPARE_GROUP, group)


def started(rollout: Rollout, group: int, *, now: float) -> Rollout:
    """Return the rollout with a group started whose members are chosen."""
    deadline_at = now + rollout.plan.groups[group].deadline_s
    return with_group(rollout, group, replace(rollout.groups[group], started_at=now, deadline_at=deadline_at), now=now)


def _progress(rollout: Rollout, group: int, *, verdict: GroupVerdict, now: float) -> Rollout | None:
    """Return the rollout with a group's soak begun, broken off or ended; None if none of that happened."""
    progress = rollout.groups[group]
    if progress.passed_at is not None:
        return None
    if verdict is not GroupVerdict.ENOUGH_SUCCESSES:
        return with_group(rollout, group, replace(progress, met_at=None), now=now) if progress.met_at else None
    met_at = progress.met_at or now
    if met_at + rollout.plan.groups[group].soak_s <= now:
        return with_group(rollout, group, replace(progress, met_at=met_at, passed_at=now), now=now)
    return None if progress.met_at else with_group(rollout, group, replace(progress, met_at=now), now=now)


def _failure(verdict: GroupVerdict, tally: GroupTally, group: int) -> str | None:
    numbers = (
        f"of {tally.members} devices {tally.reported} reported, {tally.committed} committed, {tally.failed} failed"
    )
    match verdict:
        case GroupVerdict.TOO_MANY_ERRORS:
            return f"group {group + 1}: too many errors; {numbers}"
        case GroupVerdict.TOO_FEW_REACHED:
            return f"group {group + 1}: too few devices reached by its deadline; {numbers}"
        case GroupVerdict.TOO_FEW_SUCCESSES:
            return f"group {group + 1}: too few successes; {numbers}"
        case _:
            return None


def _emptiness(rollout: Rollout, tally: GroupTally, group: int) -> str | None:
    """Tell why a group proves nothing: nobody is in it, and not because all that match are in an earlier one."""
    progress = rollout.groups[group]
    if rollout.plan.allow_empty or progress.passed_at is not None or tally.members:
        return None
    if tally.removed:
        return f"group {group + 1}: each of its devices was removed from the fleet"
    return f"group {group + 1}: {rollout.plan.selector.nobody()}" if progress.matching == 0 else None


def _roll_back(rollout: Rollout, tallies: Mapping[int, GroupTally], *, now: float) -> Decision | None:
    left = sum(one.reverting for one in tallies.values())
    due = rollout.deadline_at is not None and rollout.deadline_at <= now
    if (left or rollout.taken_back is not None) and not due:
        return None
    reason = f"{left} devices did not report it in time; they follow when they connect" if left else rollout.reason
    return Decision(move(rollout, _R.ROLLED_BACK, reason=reason, now=now))


def with_group(rollout: Rollout, group: int, progress: GroupProgress, *, now: float) -> Rollout:
    """Return the rollout with another progress of one group."""
    groups = (*rollout.groups[:group], progress, *rollout.groups[group + 1 :])
    return replace(rollout, groups=groups, changed_at=now)
