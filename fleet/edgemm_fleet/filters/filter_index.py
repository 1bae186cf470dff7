"""The index over many filters: which of them mean a device, found without asking each.

A filter that can only mean devices with one of a few facts (`site=plant-7 …`, `(id=a or id=b) …`) is asked about those
devices alone; the others are asked about every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeAlias, TypeVar

from edgemm_fleet.filters.closures import DeviceFacts, Matcher, compiled
from edgemm_fleet.filters.expressions import AllOf, AnyOf, Expression, FactSubject, FactTerm, IdTerm, TermComparison

Name = TypeVar("Name")
Anchor: TypeAlias = tuple[FactSubject | None, str, str]
"""A fact that a device must have: subject, name and value; of an id (no subject) the value alone."""
_MOST_ANCHORS = 64


class FilterIndex(Generic[Name]):
    """Filters by name, compiled once."""

    def __init__(self, filters: Mapping[Name, Expression]) -> None:
        self._anchored: dict[Anchor, list[tuple[Name, Matcher]]] = {}
        self._others: list[tuple[Name, Matcher]] = []
        for name, expression in filters.items():
            entry = (name, compiled(expression))
            found = _anchors(expression)
            for anchor in found or ():
                self._anchored.setdefault(anchor, []).append(entry)
            if found is None:
                self._others.append(entry)

    def meaning(self, device: DeviceFacts, *, now: float) -> list[Name]:
        """Return the names of the filters that mean a device."""
        found: dict[Name, None] = {}
        keys: list[Anchor] = [(None, "", device.id)]
        keys += [(subject, name, value) for (subject, name), values in device.values.items() for value in values]
        asked = [self._anchored[key] for key in keys if key in self._anchored]
        for entries in (*asked, self._others):
            found |= {name: None for name, matcher in entries if name not in found and matcher(device, now)}
        return list(found)


def _anchors(expression: Expression) -> frozenset[Anchor] | None:
    """Return facts of which a device that is meant has at least one; None where no few such are known."""
    match expression:
        case FactTerm(subject, name, TermComparison.EQUAL, value):
            ended = {(FactSubject.OUTCOME, name, value)} if subject is FactSubject.STATE else set()
            return frozenset({(subject, name, value), *ended})
        case IdTerm(values, prefix=False):
            return frozenset((None, "", value) for value in values) if len(values) <= _MOST_ANCHORS else None
        case AllOf(parts):
            return min(filter(None, map(_anchors, parts)), key=len, default=None)
        case AnyOf(parts):
            found = [_anchors(part) for part in parts]
            known = [one for one in found if one is not None]
            joined = frozenset[Anchor]().union(*known)
            return joined if len(known) == len(found) and len(joined) <= _MOST_ANCHORS else None
        case _:
            return None
