"""The counts of a rollout's members by group and state: kept by deltas, in the transaction that changes the members.

Nobody counts members: numbers of a million are asked for after each report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, case, func, literal, select, update

from edgemm.reasons import Reason
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.membership.member_tables import member_counts, members

REMOVED = "removed"
"""The state, in counts alone, of a member whose device was removed before anything came of it."""
_GONE = (
    (members.c.state == MemberState.EXCUSED.value)
    & (func.coalesce(members.c.reason, "") == Reason.REMOVED.value)
    & members.c.update_state.is_(None)
)
_STATE = case((_GONE, literal(REMOVED)), else_=members.c.state)
_MET = members.c.update_state.is_not(None)


class CountedAs(NamedTuple):
    """What a member counts as; `met`: it has reported the generation that it was told."""

    group: int
    state: str
    met: bool


def counted_as(*, group: int, state: str, update_state: str | None, reason: str | None) -> CountedAs:
    """Return what a member with these values counts as."""
    gone = state == MemberState.EXCUSED.value and reason == Reason.REMOVED.value and update_state is None
    return CountedAs(group, REMOVED if gone else state, update_state is not None)


def of_devices(tx: Connection, rollout: str, devices: Sequence[str]) -> Counter[CountedAs]:
    """Return as what those of these devices count that are members, and how many as each."""
    query = select(members.c.group, _STATE, _MET, func.count()).where(members.c.rollout == rollout)
    rows = tx.execute(query.where(listed(members.c.device, devices)).group_by(members.c.group, _STATE, _MET))
    return Counter({CountedAs(group, state, bool(met)): number for group, state, met, number in rows})


def change(tx: Connection, rollout: str, *, before: Mapping[CountedAs, int], after: Mapping[CountedAs, int]) -> None:
    """Count members differently than before, so many as each."""
    rows = [
        {"rollout": rollout, **key._asdict(), "number": more}
        for key in before.keys() | after.keys()
        if (more := after.get(key, 0) - before.get(key, 0))
    ]
    portable.add_up(tx, member_counts, rows, "number")


def have_none(tx: Connection, rollout: str, *, state: MemberState) -> None:
    """Count none in a state, where a look at the members has found none: a count that is wrong must hold nobody up."""
    wrong = (member_counts.c.rollout == rollout) & (member_counts.c.state == state.value)
    tx.execute(update(member_counts).where(wrong).values(number=0))


def of(tx: Connection, rollout: str) -> dict[CountedAs, int]:
    """Return how many of a rollout's members count as what."""
    query = select(member_counts).where(member_counts.c.rollout == rollout, member_counts.c.number != 0)
    return {CountedAs(row.group, row.state, bool(row.met)): row.number for row in tx.execute(query)}
