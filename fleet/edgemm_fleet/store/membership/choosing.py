"""The choice in SQL of the devices of a rollout's group, a part at a time, without a look at those that are in already.

Devices that are connected come first. After that the order is always the same for one rollout, and different for
another. A device is a member once; the last group alone takes devices again: those that timed out earlier. One that was
removed and let in again is a new one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, not_, or_, select

from edgemm.reasons import Reason
from edgemm_fleet.filters import Expression
from edgemm_fleet.filters.expressions import is_lasting
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.store.dialects.portable import listed, stable_order
from edgemm_fleet.store.facts.fact_queries import FactQuery
from edgemm_fleet.store.facts.fact_tables import devices
from edgemm_fleet.store.membership.member_tables import members


@dataclass(frozen=True)
class MatchingNumbers:
    """How many devices match, members already among them; how many of them are, and how many timed out as such."""

    matching: int
    taken: int
    timed_out: int


class DeviceChoice:
    """The devices of one rollout in one transaction; `now` is what `seen` of its filter counts from."""

    def __init__(self, tx: Connection, rollout: str, expression: Expression, *, now: float) -> None:
        self._tx, self._rollout = tx, rollout
        # What the filter asks of a device may be what this rollout changed there: a member stays one.
        self._lasting = is_lasting(expression)
        self._facts = FactQuery(tx, expression, now=now)

    def numbers(self) -> MatchingNumbers:
        """Count them: by the facts, and by the members, of which a first group has none."""
        found, timed_out = self._facts.count(), members.c.state == MemberState.TIMED_OUT.value
        if not self._tx.execute(select(members.c.device).where(members.c.rollout == self._rollout).limit(1)).first():
            return MatchingNumbers(found, 0, 0)
        query, device = self._facts.meant()
        meant = self._count(query.where(self._is_member(device)))
        if self._lasting:
            return MatchingNumbers(found, meant, self._count(query.where(self._is_member(device, timed_out))))
        taken = self._count(self._live_members())
        return MatchingNumbers(found - meant + taken, taken, self._count(self._live_members().where(timed_out)))

    def timed_out(self, *, limit: int, but_for: Collection[str] = ()) -> list[str]:
        """Return members that are to be told again, in no order; `but_for` these."""
        is_so = members.c.state == MemberState.TIMED_OUT.value
        if self._lasting:
            query, device = self._facts.meant()
            query = query.where(self._is_member(device, is_so))
        else:
            query, device = self._live_members().where(is_so), members.c.device
        return self._ids(query.where(not_(listed(device, but_for))).limit(limit))

    def further(self, *, limit: int, but_for: Collection[str] = ()) -> list[str]:
        """Return devices that are no members, those that come first; `but_for` these."""
        query, device = self._facts.meant()
        query = query.where(not_(self._is_member(device)), not_(listed(device, but_for)))
        return self._ids(_in_order(self._rollout, query.subquery()).limit(limit))

    def first(self, *, limit: int) -> list[str]:
        """Return devices that are meant, members or not, those that come first."""
        query, _ = self._facts.meant()
        return self._ids(_in_order(self._rollout, query.subquery()).limit(limit))

    def all_further(self, *, after: str, limit: int) -> list[str]:
        """Return devices that are no members by id, those behind `after`: for a group that takes all that are left."""
        query, device = self._facts.meant()
        query = query.where(not_(self._is_member(device)), device > after)
        return self._ids(query.order_by(device).limit(limit))

    def are_more_than(self, number: int) -> bool:
        """Tell whether more devices match that are no members than this."""
        query, device = self._facts.meant()
        return self._count(query.where(not_(self._is_member(device))).limit(number + 1)) > number

    def _is_member(self, device: ColumnElement[str], *more: ColumnElement[bool]) -> ColumnElement[bool]:
        same = (members.c.rollout == self._rollout) & (members.c.device == device)
        return exists(select(1).where(same, _STAYS, *more))

    def _live_members(self) -> Select[Any]:
        live = exists(select(1).where(devices.c.id == members.c.device, devices.c.removed_at.is_(None)))
        return select(members.c.device).where(members.c.rollout == self._rollout, _STAYS, live)

    def _count(self, query: Select[Any]) -> int:
        return int(self._tx.execute(select(func.count()).select_from(query.subquery())).scalar_one())

    def _ids(self, query: Select[Any]) -> list[str]:
        return list(self._tx.execute(query).scalars())


_STAYS = or_(members.c.reason.is_(None), members.c.reason != Reason.REMOVED.value)


def _in_order(rollout: str, found: Any) -> Select[Any]:
    (device,) = found.columns
    query = select(device).join(devices, devices.c.id == device)
    return query.order_by(devices.c.online.desc(), stable_order(rollout, device))
