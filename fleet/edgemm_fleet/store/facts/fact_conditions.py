"""The conditions in SQL of the terms of a filter, and the parts of a filter whose facts were looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, or_, true

from edgemm_fleet.filters.expressions import FactSubject, FactTerm, IdTerm, OnlineTerm, SeenTerm, TermComparison
from edgemm_fleet.filters.ranks import rank
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.facts.fact_tables import device_facts, facts


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
class JoinedParts:
    """Parts of which all hold (`every`), or any."""

    parts: tuple[Part, ...]
    every: bool


@dataclass(frozen=True)
class OppositePart:
    """Devices that do not have a part."""

    part: Part


_Leaf: TypeAlias = FactSet | IdTerm | OnlineTerm | SeenTerm
Part: TypeAlias = "_Leaf | JoinedParts | OppositePart"
"""A filter, or a part of one, whose facts are looked up."""


def fact_wanted(term: FactTerm) -> ColumnElement[bool]:
    """Return which facts a term looks for."""
    subjects = [term.subject.value]
    if term.subject is FactSubject.STATE and term.comparison is not TermComparison.THERE:
        subjects.append(FactSubject.OUTCOME.value)
    named = and_(facts.c.subject.in_(subjects), facts.c.name == term.name)
    wanted = rank(term.value)
    match term.comparison:
        case TermComparison.THERE:
            has: ColumnElement[bool] = true()
        case TermComparison.EQUAL:
            has = facts.c.value == term.value
        case TermComparison.PREFIX:
            has = _begins(facts.c.value, term.value)
        case TermComparison.SAME:
            has = facts.c.rank == wanted
        case TermComparison.BELOW:
            has = facts.c.rank < wanted
        case TermComparison.AT_MOST:
            has = facts.c.rank <= wanted
        case TermComparison.ABOVE:
            has = facts.c.rank > wanted
        case TermComparison.AT_LEAST:
            has = facts.c.rank >= wanted
    return and_(named, has)


def id_wanted(term: IdTerm, column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition on an id."""
    return or_(*(_begins(column, value) for value in term.values)) if term.prefix else listed(column, term.values)


def heard_of(term: SeenTerm, seen: ColumnElement[float], *, now: float) -> list[ColumnElement[bool]]:
    """Return the cases in which a device was heard of so long ago: an index finds each, and none finds both at once."""
    moment = now - term.seconds
    if term.comparison in {TermComparison.BELOW, TermComparison.AT_MOST}:
        return [seen > moment if term.comparison is TermComparison.BELOW else seen >= moment]
    return [seen < moment if term.comparison is TermComparison.ABOVE else seen <= moment, seen.is_(None)]


def _begins(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Return a range of code points, which an index finds; LIKE would fold letters."""
    end = prefix.rstrip("\U0010ffff")
    if not end:
        return column >= prefix
    following = ord(end[-1]) + 1
    last = chr(following if following != 0xD800 else 0xE000)
    return and_(column >= prefix, column < end[:-1] + last)
