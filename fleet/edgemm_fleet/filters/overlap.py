"""The question whether two filters may mean one device, by what each asks of ids and labels."""

from __future__ import annotations

from typing import TypeAlias

from edgemm_fleet.filters.expressions import AllOf, AnyOf, Expression, FactSubject, FactTerm, IdTerm, TermComparison

_Choices: TypeAlias = dict[str | None, frozenset[str]]
"""Label → the values of which a device has one; None: its id."""


def may_overlap(one: Expression, other: Expression) -> bool:
    """Tell whether some device may be meant by both; False only where that is impossible."""
    first, second = _choices(one), _choices(other)
    return all(first[key] & second[key] for key in first.keys() & second.keys())


def _choices(expression: Expression) -> _Choices:
    """Return what a device that is meant must have; a device has one id, and one value of a label."""
    match expression:
        case FactTerm(FactSubject.LABEL, name, TermComparison.EQUAL, value):
            return {name: frozenset({value})}
        case IdTerm(values, prefix=False):
            return {None: frozenset(values)}
        case AllOf(parts):
            every: _Choices = {}
            for key, some in ((key, some) for part in parts for key, some in _choices(part).items()):
                every[key] = every.get(key, some) & some
            return every
        case AnyOf(parts):
            any_of = [_choices(part) for part in parts]
            shared = set(any_of[0]).intersection(*any_of[1:]) if any_of else set()
            return {key: frozenset[str]().union(*(one[key] for one in any_of)) for key in shared}
        case _:
            return {}
