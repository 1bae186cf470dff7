"""The dates of a rollout that were written by a clock that was ahead: brought back to what they can be now. Pure.

A manager that was started with a wrong clock, and again with a right one, would else wait for years for a soak or a
deadline. Nothing is brought back that a right clock can have written.
"""

from __future__ import annotations

from msgspec.structs import replace

from edgemm_fleet.clock import SLACK_S
from edgemm_fleet.records.members import Member, MemberState
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait

DRAFT_LIFETIME_S = 30 * 86400.0
"""After so long a draft that was never started is canceled."""


def longest_s(plan: RolloutPlan) -> float:
    """Return the longest time that a member, a group or a roll-back of a rollout has for anything."""
    return max(plan.activation_s, *(group.deadline_s for group in plan.groups))


def redated(rollout: Rollout, *, now: float) -> Rollout:
    """Return the rollout with dates that can be; the same value where they are."""
    groups = tuple(_group(one, rollout.plan.groups[i], now=now) for i, one in enumerate(rollout.groups))
    limit = max(DRAFT_LIFETIME_S, longest_s(rollout.plan))
    deadline_at = _at_most(rollout.deadline_at, now + limit)
    waiting = _waiting(rollout.waiting, now=now)
    if (groups, deadline_at, waiting) == (rollout.groups, rollout.deadline_at, rollout.waiting):
        return rollout
    return replace(rollout, groups=groups, deadline_at=deadline_at, waiting=waiting)


def redated_member(member: Member, plan: RolloutPlan, *, now: float) -> Member:
    """Return a member whose deadline is too far off with one from now on."""
    allowed = plan.activation_s if member.state is MemberState.ACTIVATING else plan.groups[member.group].deadline_s
    return replace(member, deadline_at=now + allowed)


def _group(progress: GroupProgress, group: Group, *, now: float) -> GroupProgress:
    return replace(
        progress,
        started_at=_at_most(progress.started_at, now),
        deadline_at=_at_most(progress.deadline_at, now + group.deadline_s),
        met_at=_at_most(progress.met_at, now),
        passed_at=_at_most(progress.passed_at, now),
    )


def _waiting(waiting: RolloutWait | None, *, now: float) -> RolloutWait | None:
    """Have what began in the future begin now, and last as long as it was to."""
    return waiting.shifted(now - waiting.since) if waiting is not None and waiting.since > now + SLACK_S else waiting


def _at_most(then: float | None, most: float) -> float | None:
    return most if then is not None and then > most + SLACK_S else then
