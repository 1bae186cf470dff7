"""The dates in the store that a leap of the manager's clock would else make wrong for as long as it leapt.

`shift` moves what runs by a deadline along with a leap that the manager has seen. `redate` is for what was written by a
clock that was ahead, and found later: it is dated now.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace
from sqlalchemy import update

from edgemm.states import RolloutState
from edgemm_fleet.clock import SLACK_S
from edgemm_fleet.records.progress import GroupProgress
from edgemm_fleet.store import rollouts
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import desired, enrolment_tokens, members, person_tokens


def shift(tx: Transaction, states: Iterable[RolloutState], *, by_s: float) -> None:
    """Move the dates of rollouts in some states, of their groups, and of all members, and pauses of answers."""
    due = members.c.deadline_at.is_not(None)
    tx.execute(update(members).where(due).values(deadline_at=members.c.deadline_at + by_s))
    paused = desired.c.again_at.is_not(None)
    tx.execute(update(desired).where(paused).values(again_at=desired.c.again_at + by_s))
    for rollout in rollouts.in_states(tx, states):
        groups = tuple(_shifted(group, by_s) for group in rollout.groups)
        waiting = rollout.waiting.shifted(by_s) if rollout.waiting else None
        deadline_at = _later(rollout.deadline_at, by_s)
        rollouts.save(tx, replace(rollout, groups=groups, deadline_at=deadline_at, waiting=waiting))


def redate(tx: Transaction, *, now: float) -> int:
    """Date tokens now that were made later than now, with the lifetime that they had; return how many there were."""
    changed = 0
    for table in (person_tokens, enrolment_tokens):
        expires = table.c.expires_at - table.c.created_at + now
        ahead = update(table).where(table.c.created_at > now + SLACK_S)
        changed += tx.execute(ahead.values(expires_at=expires, created_at=now)).rowcount
    return changed


def _shifted(group: GroupProgress, by_s: float) -> GroupProgress:
    return replace(
        group,
        started_at=_later(group.started_at, by_s),
        deadline_at=_later(group.deadline_at, by_s),
        met_at=_later(group.met_at, by_s),
        passed_at=_later(group.passed_at, by_s),
        preparing_at=_later(group.preparing_at, by_s),
    )


def _later(then: float | None, by_s: float) -> float | None:
    return None if then is None else then + by_s
