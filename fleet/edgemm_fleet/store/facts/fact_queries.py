"""The SQL of a filter: which devices it means, page by page, and how many they are.

No statement looks at a device that no term of the filter points at, as far as one does: `device_facts` is read by the
facts of the rarest term, in the order of ids, and each device found there is probed for the others by its key. Which
term is the rarest is asked of the database first, up to a bound. A filter whose terms all hold for many is answered by
walking the devices in the order of their ids until a page is full. Counts of `A not B` are those of A less those of A
and B, so that what nearly every device is needs no probe each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    FromClause,
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
    Comparison,
    Expression,
    FactTerm,
    IdTerm,
    NotTerm,
    OnlineTerm,
    SeenTerm,
    Subject,
    needed,
)
from edgemm_fleet.filters.ranks import rank
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import device_facts, devices, facts

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
_LIVE = devices.c.removed_at.is_(None)
_ONLINE = and_(devices.c.online.is_(True), _LIVE)


@dataclass(frozen=True)
class FactSet:
    """Devices with any of some facts; `once`: no device has two of them."""

    numbers: tuple[int, ...] | Select[Any]
    once: bool

    @property
    def single(self) -> int | None:
        """The fact, where it is one."""
        return self.numbers[0] if isinstance(self.numbers, tuple) and len(self.numbers) == 1 else None

    def holds(self) -> ColumnElement[bool]:
        """Return the condition on a row of `device_facts`."""
        if isinstance(self.numbers, tuple) and len(self.numbers) == 1:
            return device_facts.c.fact == self.numbers[0]
        return device_facts.c.fact.in_(self.numbers)


@dataclass(frozen=True)
class _Joined:
    """Parts of which all hold (`every`), or any."""

    parts: tuple[_Node, ...]
    every: bool


@dataclass(frozen=True)
class _Opposite:
    part: _Node


_Leaf: TypeAlias = FactSet | IdTerm | OnlineTerm | SeenTerm
_Node: TypeAlias = "_Leaf | _Joined | _Opposite"


class FactQuery:
    """One filter in one transaction; `now` is what `seen` counts from."""

    def __init__(self, tx: Transaction, expression: Expression, *, now: float) -> None:
        self._tx, self._now = tx, now
        self._sizes: dict[tuple[int, int], int] = {}
        found = self._resolved(expression)
        self._parts = found.parts if isinstance(found, _Joined) and found.every else (found,)

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
        query, device = self._behind(driver, after)
        if end is not None:
            query = query.where(device <= end)
        ids = list(self._tx.execute(query.order_by(device).limit(limit + 1)).scalars())
        return (ids[:limit], ids[limit - 1]) if len(ids) > limit else (ids, end)

    def ids(self, *, after: str | None = None, limit: int | None = None) -> list[str]:
        """Return the ids of all devices that are meant, in order, or of the first of them."""
        query, device = self._behind(self._rarest(self._parts, bound=_FEW), after)
        return list(self._tx.execute(query.order_by(device).limit(limit)).scalars())

    def _behind(self, driver: _Node | None, after: str | None) -> tuple[Select[Any], ColumnElement[str]]:
        query, device = self._source(driver)
        query = query.where(*self._probes(self._parts, driver, device))
        return (query if after is None else query.where(device > after)), device

    def count(self) -> int:
        """Return how many devices are meant."""
        return self._count(self._parts, differences=_MOST_DIFFERENCES)

    def _count(self, parts: Sequence[_Node], *, differences: int) -> int:
        driver = self._rarest(parts, bound=_MANY)
        excluded = next((part for part in parts if isinstance(part, _Opposite)), None)
        if excluded is not None and differences and (driver is None or self._size(driver, _MANY) > _FEW):
            kept = tuple(part for part in parts if part is not excluded)
            both = (*kept, *_parts_of(excluded.part))
            return self._count(kept, differences=differences - 1) - self._count(both, differences=differences - 1)
        query, device = self._source(driver)
        query = query.where(*self._probes(parts, driver, device))
        return int(self._tx.execute(select(func.count()).select_from(query.subquery())).scalar_one())

    def _resolved(self, expression: Expression) -> _Node:
        match expression:
            case FactTerm():
                return self._facts([expression])
            case AnyOf(parts) if parts and all(isinstance(part, FactTerm) for part in parts):
                return self._facts([part for part in parts if isinstance(part, FactTerm)])
            case AllOf(parts):
                return _Joined(tuple(self._resolved(part) for part in needed(parts)), every=True)
            case AnyOf(parts):
                return _Joined(tuple(self._resolved(part) for part in parts), every=False)
            case NotTerm(part):
                return _Opposite(self._resolved(part))
            case _:
                return expression

    def _facts(self, terms: Sequence[FactTerm]) -> FactSet:
        query = select(facts.c.fact).where(or_(*map(_condition, terms)))
        numbers = list(self._tx.execute(query.limit(_MOST_NUMBERS + 1)).scalars())
        of_one = len({(term.subject, term.name) for term in terms}) == 1
        once = of_one and (terms[0].subject is not Subject.STATE or terms[0].comparison is Comparison.THERE)
        return FactSet(tuple(numbers) if len(numbers) <= _MOST_NUMBERS else query, once)

    def _rarest(self, parts: Sequence[_Node], *, bound: int) -> _Node | None:
        """Return the part that the fewest devices have, counted up to a bound; None: no part points at devices."""
        pointing = [part for part in parts if _points(part)]
        if len(pointing) < 2:
            return pointing[0] if pointing else None
        return min(pointing, key=lambda part: self._size(part, bound))

    def _in_order(self) -> _Node | None:
        """Return a part whose devices are read in the order of their ids; None: all devices."""
        ordered = [part for part in self._parts if isinstance(part, OnlineTerm) or _is_single(part)]
        return min(ordered, key=lambda part: self._size(part, _MANY), default=None)

    def _size(self, part: _Node, bound: int) -> int:
        if isinstance(part, IdTerm) and not part.prefix:
            return len(part.values)
        key = (id(part), bound)
        if key not in self._sizes:
            query, _ = self._source(part)
            counted = select(func.count()).select_from(query.limit(bound).subquery())
            self._sizes[key] = int(self._tx.execute(counted).scalar_one())
        return self._sizes[key]

    def _source(self, part: _Node | None) -> tuple[Select[Any], ColumnElement[str]]:
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
            case _Joined(parts, every=False):
                inner = union(*(self._source(one)[0] for one in parts)).subquery()
                device = inner.columns[0]
                query = select(device)
            case _Joined(parts):
                driver = self._rarest(parts, bound=_FEW)
                query, device = self._source(driver)
                query = query.where(*self._probes(parts, driver, device))
            case IdTerm():
                query = select(device).where(_LIVE, _has_id(part, device))
            case OnlineTerm():
                query = select(device).where(_ONLINE)
            case SeenTerm():  # an index finds each of the cases, and none finds both at once
                inner = union_all(*(select(device).where(_LIVE, case) for case in self._seen(part, devices))).subquery()
                device = inner.columns[0]
                query = select(device)
            case _:
                query = select(device).where(_LIVE)
        return query, device

    def _probes(
        self, parts: Sequence[_Node], driver: _Node | None, device: ColumnElement[str]
    ) -> list[ColumnElement[bool]]:
        return [self._probe(part, device) for part in parts if part is not driver]

    def _probe(self, part: _Node, device: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that one device, by its id, has a part."""
        match part:
            case _Joined(parts, every):
                found = [self._probe(one, device) for one in parts]
                return and_(true(), *found) if every else or_(false(), *found)
            case _Opposite(one):
                return not_(self._probe(one, device))
            case IdTerm():
                return _has_id(part, device)
            case FactSet():
                other = device_facts.alias()
                few = isinstance(part.numbers, tuple) and len(part.numbers) <= _FEW_NUMBERS
                # The facts of one device are fewer: `+ 0` has the database read those, and look each up.
                fact = other.c.fact if few else other.c.fact + 0
                return exists(select(1).where(fact.in_(part.numbers), other.c.device == device))
            case _:
                mine = devices.alias()
                is_so = mine.c.online.is_(True) if isinstance(part, OnlineTerm) else or_(*self._seen(part, mine))
                return exists(select(1).where(mine.c.id == device, mine.c.removed_at.is_(None), is_so))

    def _seen(self, term: SeenTerm, table: FromClause) -> list[ColumnElement[bool]]:
        """Return the cases in which a device was heard of so long ago."""
        seen: ColumnElement[float] = table.c.last_seen_at
        moment = self._now - term.seconds
        if term.comparison in {Comparison.BELOW, Comparison.AT_MOST}:
            return [seen > moment if term.comparison is Comparison.BELOW else seen >= moment]
        return [seen < moment if term.comparison is Comparison.ABOVE else seen <= moment, seen.is_(None)]


def _parts_of(node: _Node) -> tuple[_Node, ...]:
    return node.parts if isinstance(node, _Joined) and node.every else (node,)


def _is_single(part: _Node) -> bool:
    return isinstance(part, FactSet) and part.single is not None


def _points(part: _Node) -> bool:
    """Tell whether the devices of a part are found without a look at the others."""
    match part:
        case _Joined(parts, every):
            return any(map(_points, parts)) if every else bool(parts) and all(map(_points, parts))
        case _Opposite():
            return False
        case _:
            return True


def _condition(term: FactTerm) -> ColumnElement[bool]:
    """Return which facts a term looks for."""
    subjects = [term.subject.value]
    if term.subject is Subject.STATE and term.comparison is not Comparison.THERE:
        subjects.append(Subject.OUTCOME.value)
    named = and_(facts.c.subject.in_(subjects), facts.c.name == term.name)
    wanted = rank(term.value)
    match term.comparison:
        case Comparison.THERE:
            has: ColumnElement[bool] = true()
        case Comparison.EQUAL:
            has = facts.c.value == term.value
        case Comparison.PREFIX:
            has = _begins(facts.c.value, term.value)
        case Comparison.SAME:
            has = facts.c.rank == wanted
        case Comparison.BELOW:
            has = facts.c.rank < wanted
        case Comparison.AT_MOST:
            has = facts.c.rank <= wanted
        case Comparison.ABOVE:
            has = facts.c.rank > wanted
        case Comparison.AT_LEAST:
            has = facts.c.rank >= wanted
    return and_(named, has)


def _has_id(term: IdTerm, column: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(*(_begins(column, value) for value in term.values)) if term.prefix else column.in_(term.values)


def _begins(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Return a range of code points, which an index finds; LIKE would fold letters."""
    end = prefix.rstrip("\U0010ffff")
    if not end:
        return column >= prefix
    following = ord(end[-1]) + 1
    last = chr(following if following != 0xD800 else 0xE000)
    return and_(column >= prefix, column < end[:-1] + last)
