"""The SQL of a filter: which devices it means, page by page, and how many they are.

No statement looks at a device that no term of the filter points at, as far as one does: `device_facts` is read by the
facts of the rarest term, in the order of ids, and each device found there is probed for the others by its key. Which
term is the rarest is asked of the database first, up to a bound. A filter whose terms all hold for many is answered by
walking the devices in the order of their ids until a page is full. Counts of `A not B` are those of A less those of A
and B, so that what nearly every device is needs no probe each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    true,
    union,
    union_all,
)

from edgemm_fleet.filters.expressions import (
    AllOf,
    AnyOf,
    Expression,
    FactSubject,
    FactTerm,
    IdTerm,
    NotTerm,
    OnlineTerm,
    SeenTerm,
    TermComparison,
    needed,
)
from edgemm_fleet.store.facts.fact_conditions import (
    FactSet,
    JoinedParts,
    OppositePart,
    Part,
    fact_wanted,
    heard_of,
    id_wanted,
)
from edgemm_fleet.store.facts.fact_tables import device_facts, devices, facts

_MOST_NUMBERS = 300
"""Of more facts than this, a term is a subquery."""
_FEW_NUMBERS = 4
_FEW = 20_000
"""So many devices are sorted for one page."""
_MANY = 200_000
"""Up to here devices are counted to find the rarest term of a count."""
_WALKED = 50_000
"""So many devices are looked at for one page, where each of its terms holds for many."""
_MOST_DIFFERENCES = 2
_Range = tuple[str | None, str | None]
"""Ids behind the first, up to the second; None: without that bound."""
_LIVE = devices.c.removed_at.is_(None)
_ONLINE = and_(devices.c.online.is_(True), _LIVE)


class FactQuery:
    """One filter in one transaction; `now` is what `seen` counts from."""

    def __init__(self, tx: Connection, expression: Expression, *, now: float) -> None:
        self._tx, self._now = tx, now
        self._sizes: dict[tuple[int, int], int] = {}
        found = self._resolved(expression)
        self._parts = found.parts if isinstance(found, JoinedParts) and found.every else (found,)

    def page(self, *, after: str | None, limit: int) -> tuple[list[str], str | None]:
        """Return ids of devices that are meant, in order, those behind `after`; and where to go on, None: at the end.

        After so many devices that none is meant of, a page ends with fewer ids than asked for.
        """
        driver = self._rarest(self._parts, bound=_FEW)
        end: str | None = None
        if driver is None or self._size(driver, _FEW) >= _FEW:
            driver = self._in_order()
            source, device = self._source(driver)
            walked = source if after is None else source.where(device > after)
            end = self._tx.execute(walked.order_by(device).limit(1).offset(_WALKED)).scalar()
        query, device = self._behind(driver, after, end)
        ids = list(self._tx.execute(query.order_by(device).limit(limit + 1)).scalars())
        return (ids[:limit], ids[limit - 1]) if len(ids) > limit else (ids, end)

    def ids(self, *, after: str | None = None, limit: int | None = None) -> list[str]:
        """Return the ids of all devices that are meant, in order, or of the first of them."""
        query, device = self._behind(self._rarest(self._parts, bound=_FEW), after)
        return list(self._tx.execute(query.order_by(device).limit(limit)).scalars())

    def meant(self) -> tuple[Select[Any], ColumnElement[str]]:
        """Return the devices that are meant as a query, in no order, and the column of their ids."""
        return self._behind(self._rarest(self._parts, bound=_FEW), None)

    def _behind(
        self, driver: Part | None, after: str | None, end: str | None = None
    ) -> tuple[Select[Any], ColumnElement[str]]:
        query, device = self._source(driver)
        probes = self._probes(self._parts, driver, device, within=(after, end))
        return query.where(*probes, *_within(device, (after, end))), device

    def count(self) -> int:
        """Return how many devices are meant."""
        return self._count(self._parts, differences=_MOST_DIFFERENCES)

    def _count(self, parts: Sequence[Part], *, differences: int) -> int:
        driver = self._rarest(parts, bound=_MANY)
        excluded = next((part for part in parts if isinstance(part, OppositePart)), None)
        if excluded is not None and differences and (driver is None or self._size(driver, _MANY) > _FEW):
            kept = tuple(part for part in parts if part is not excluded)
            both = (*kept, *_parts_of(excluded.part))
            return self._count(kept, differences=differences - 1) - self._count(both, differences=differences - 1)
        query, device = self._source(driver)
        query = query.where(*self._probes(parts, driver, device))
        return int(self._tx.execute(select(func.count()).select_from(query.subquery())).scalar_one())

    def _resolved(self, expression: Expression) -> Part:
        match expression:
            case FactTerm():
                return self._facts([expression])
            case AnyOf(parts) if parts and all(isinstance(part, FactTerm) for part in parts):
                return self._facts([part for part in parts if isinstance(part, FactTerm)])
            case AllOf(parts):
                return JoinedParts(tuple(self._resolved(part) for part in needed(parts)), every=True)
            case AnyOf(parts):
                return JoinedParts(tuple(self._resolved(part) for part in parts), every=False)
            case NotTerm(part):
                return OppositePart(self._resolved(part))
            case _:
                return expression

    def _facts(self, terms: Sequence[FactTerm]) -> FactSet:
        query = select(facts.c.fact).where(or_(*map(fact_wanted, terms)))
        numbers = list(self._tx.execute(query.limit(_MOST_NUMBERS + 1)).scalars())
        of_one = len({(term.subject, term.name) for term in terms}) == 1
        once = of_one and (terms[0].subject is not FactSubject.STATE or terms[0].comparison is TermComparison.THERE)
        return FactSet(tuple(numbers) if len(numbers) <= _MOST_NUMBERS else query, once)

    def _rarest(self, parts: Sequence[Part], *, bound: int) -> Part | None:
        """Return the part that the fewest devices have, counted up to a bound; None: no part points at devices."""
        pointing = [part for part in parts if _points(part)]
        if len(pointing) < 2:
            return pointing[0] if pointing else None
        # Of as many, those of facts are probed more cheaply, and so are not what is read first.
        return min(pointing, key=lambda part: (self._size(part, bound), isinstance(part, FactSet)))

    def _in_order(self) -> Part | None:
        """Return a part whose devices are read in the order of their ids; None: all devices."""
        ordered = [part for part in self._parts if isinstance(part, OnlineTerm) or _is_single(part)]
        return min(ordered, key=lambda part: self._size(part, _MANY), default=None)

    def _size(self, part: Part, bound: int) -> int:
        if isinstance(part, IdTerm) and not part.prefix:
            return len(part.values)
        key = (id(part), bound)
        if key not in self._sizes:
            query, _ = self._source(part)
            counted = select(func.count()).select_from(query.limit(bound).subquery())
            self._sizes[key] = int(self._tx.execute(counted).scalar_one())
        return self._sizes[key]

    def _source(self, part: Part | None) -> tuple[Select[Any], ColumnElement[str]]:
        """Return the devices of a part, each once, and the column of their ids."""
        device: ColumnElement[str] = devices.c.id
        match part:
            case FactSet():
                device = device_facts.c.device
                query = select(device).where(part.holds())
                if part.single is None and not part.once:
                    inner = query.distinct().subquery()
                    device = inner.c.device
                    query = select(device)
            case JoinedParts(parts, every=False):
                inner = union(*(self._source(one)[0] for one in parts)).subquery()
                device = inner.columns[0]
                query = select(device)
            case JoinedParts(parts):
                driver = self._rarest(parts, bound=_FEW)
                query, device = self._source(driver)
                query = query.where(*self._probes(parts, driver, device))
            case IdTerm():
                query = select(device).where(_LIVE, id_wanted(part, device))
            case OnlineTerm():
                query = select(device).where(_ONLINE)
            case SeenTerm():  # an index finds each of the cases, and none finds both at once
                inner = union_all(
                    *(
                        select(device).where(_LIVE, case)
                        for case in heard_of(part, devices.c.last_seen_at, now=self._now)
                    )
                ).subquery()
                device = inner.columns[0]
                query = select(device)
            case _:
                query = select(device).where(_LIVE)
        return query, device

    def _probes(
        self, parts: Sequence[Part], driver: Part | None, device: ColumnElement[str], *, within: _Range = (None, None)
    ) -> list[ColumnElement[bool]]:
        return [self._probe(part, device, within) for part in parts if part is not driver]

    def _probe(self, part: Part, device: ColumnElement[str], within: _Range) -> ColumnElement[bool]:
        """Return the condition that one device, by its id, has a part.

        All ids are `within` a range. It is said of either side, for PostgreSQL may join one to all of the other.
        """
        match part:
            case JoinedParts(parts, every):
                found = [self._probe(one, device, within) for one in parts]
                return and_(true(), *found) if every else or_(false(), *found)
            case OppositePart(one):
                return not_(self._probe(one, device, within))
            case IdTerm():
                return id_wanted(part, device)
            case FactSet():
                other = device_facts.alias()
                few = isinstance(part.numbers, tuple) and len(part.numbers) <= _FEW_NUMBERS
                # The facts of one device are fewer: `+ 0` has the database read those, and look each up.
                fact = other.c.fact if few else other.c.fact + 0
                mine = _within(other.c.device, within)
                return exists(select(1).where(fact.in_(part.numbers), other.c.device == device, *mine))
            case _ if device is devices.c.id:
                return self._is_so(part, devices)
            case _:
                row = devices.alias()
                live = row.c.removed_at.is_(None), *_within(row.c.id, within)
                return exists(select(1).where(row.c.id == device, *live, self._is_so(part, row)))

    def _is_so(self, part: Part, row: Any) -> ColumnElement[bool]:
        """Return the condition on a row of `devices`, which is never NULL: its opposite is asked for as well."""
        if isinstance(part, OnlineTerm):
            return cast("ColumnElement[bool]", row.c.online.is_(True))
        assert isinstance(part, SeenTerm)
        return func.coalesce(or_(*heard_of(part, row.c.last_seen_at, now=self._now)), false())


def _within(device: ColumnElement[str], within: _Range) -> list[ColumnElement[bool]]:
    after, end = within
    return [*([] if after is None else [device > after]), *([] if end is None else [device <= end])]


def _parts_of(node: Part) -> tuple[Part, ...]:
    return node.parts if isinstance(node, JoinedParts) and node.every else (node,)


def _is_single(part: Part) -> bool:
    return isinstance(part, FactSet) and part.single is not None


def _points(part: Part) -> bool:
    """Tell whether the devices of a part are found without a look at the others."""
    match part:
        case JoinedParts(parts, every):
            return any(map(_points, parts)) if every else bool(parts) and all(map(_points, parts))
        case OppositePart():
            return False
        case _:
            return True
