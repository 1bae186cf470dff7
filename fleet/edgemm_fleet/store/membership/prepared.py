"""The members that were chosen for a group and have not been told: very many at once, so each step is a few statements.

A row of them is the same for all but its device, and no row is read to be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, not_, or_, select, update

from edgemm.reasons import Reason
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.facts.fact_tables import devices
from edgemm_fleet.store.membership import member_counts
from edgemm_fleet.store.membership.member_counts import REMOVED, CountedAs
from edgemm_fleet.store.membership.member_tables import members

_PREPARED = MemberState.PREPARED.value
_NEVER_TOLD: dict[str, Any] = {"attempt": 0, "generation": 0, "previous_json": "null"}
_NOTHING_YET = dict.fromkeys(("deadline_at", "update_state", "reason", "detail"))
_LIVE = devices.c.removed_at.is_(None)
_TAKEN_AGAIN = (_PREPARED, MemberState.TIMED_OUT.value)
_TOLD_IN_VAIN = and_(members.c.state.in_(_TAKEN_AGAIN), members.c.generation > 0)
_STAYS = not_(or_(members.c.state.in_(_TAKEN_AGAIN), func.coalesce(members.c.reason, "") == Reason.REMOVED.value))
"""Of a member: whatever it was when it was chosen, it has answered since."""


def prepare(tx: Connection, rollout: str, ids: Sequence[str], *, group: int, now: float) -> set[str]:
    """Choose devices for a group; return those that are not chosen: not enrolled any more, or members that answered.

    They are told later, and what came of their last update is known until then. Of one that was told before, and timed
    out, what it was told and ran before stays known.
    """
    before, answered = member_counts.of_devices(tx, rollout, ids), set[str]()
    if any(one.state not in {*_TAKEN_AGAIN, REMOVED} for one in before):
        mine = (members.c.rollout == rollout) & listed(members.c.device, ids)
        answered = set(tx.execute(select(members.c.device).where(mine, _STAYS)).scalars())
        ids = [one for one in ids if one not in answered]
        before = member_counts.of_devices(tx, rollout, ids)
    anew = {"group": group, "state": _PREPARED, "started_at": now, "changed_at": now, **_NOTHING_YET}
    fixed = {"rollout": rollout, **anew, **_NEVER_TOLD}
    values = [literal(value, type_=members.c[name].type) for name, value in fixed.items()]
    query = select(devices.c.id, *values).where(listed(devices.c.id, ids), _LIVE)
    kept: dict[str, ColumnElement[Any]] = {
        name: case((_TOLD_IN_VAIN, members.c[name]), else_=value) for name, value in _NEVER_TOLD.items()
    }
    chosen = portable.put_selected(tx, members, ("device", *fixed), query, instead={**anew, **kept})
    gone = set(ids) - _enrolled(tx, ids) if chosen < len(ids) else set()
    if gone:  # they stay what they were
        before -= member_counts.of_devices(tx, rollout, sorted(gone))
    member_counts.change(tx, rollout, before=before, after={CountedAs(group, _PREPARED, met=False): chosen})
    return gone | answered


def estimate(tx: Connection) -> None:
    """Have the database know that there are many more members than before; in a transaction that reads, too."""
    portable.estimate(tx, members)


def withdraw(tx: Connection, rollout: str, *, limit: int, now: float) -> int:
    """Have members that have not been told never be; return how many that were."""
    key = (members.c.rollout == rollout) & (members.c.state == _PREPARED)
    ids = list(tx.execute(select(members.c.device).where(key).limit(limit)).scalars())
    if not ids:
        member_counts.have_none(tx, rollout, state=MemberState.PREPARED)
        return 0
    before = member_counts.of_devices(tx, rollout, ids)
    withdrawn = {"state": MemberState.WITHDRAWN.value, "changed_at": now}
    mine = (members.c.rollout == rollout) & listed(members.c.device, ids)
    tx.execute(update(members).where(mine).values(**withdrawn))
    after = {one._replace(state=MemberState.WITHDRAWN.value): number for one, number in before.items()}
    member_counts.change(tx, rollout, before=before, after=after)
    return len(ids)


def _enrolled(tx: Connection, ids: Sequence[str]) -> set[str]:
    return set(tx.execute(select(devices.c.id).where(listed(devices.c.id, ids), _LIVE)).scalars())
