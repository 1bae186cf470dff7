"""The evaluation of a filter for one device, by closures: no SQL, no look at any other device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

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
from edgemm_fleet.filters.ranks import rank

FactKey: TypeAlias = tuple[FactSubject, str]
"""The subject and the name of a fact."""


@dataclass(frozen=True)
class DeviceFacts:
    """What filters look at in one device; `seen_at` is in seconds since the epoch, None: it was never heard of."""

    id: str
    online: bool = False
    seen_at: float | None = None
    values: Mapping[FactKey, tuple[str, ...]] = field(default_factory=dict)


Matcher: TypeAlias = Callable[[DeviceFacts, float], bool]
"""Whether a device is meant at a time (seconds since the epoch)."""


def compiled(expression: Expression) -> Matcher:
    """Return a function that tells whether a device is meant."""
    match expression:
        case AllOf(parts):
            every = tuple(compiled(part) for part in needed(parts))
            return lambda device, now: all(one(device, now) for one in every)
        case AnyOf(parts):
            some = tuple(compiled(part) for part in parts)
            return lambda device, now: any(one(device, now) for one in some)
        case NotTerm(part):
            opposite = compiled(part)
            return lambda device, now: not opposite(device, now)
        case _:
            return _leaf(expression)


def compares(found: str, comparison: TermComparison, wanted: str) -> bool:
    """Tell whether one rank lies to another as a comparison asks."""
    match comparison:
        case TermComparison.SAME:
            return found == wanted
        case TermComparison.BELOW:
            return found < wanted
        case TermComparison.AT_MOST:
            return found <= wanted
        case TermComparison.ABOVE:
            return found > wanted
        case _:
            return found >= wanted


def _leaf(term: FactTerm | IdTerm | OnlineTerm | SeenTerm) -> Matcher:
    match term:
        case IdTerm(values, prefix):
            ids = frozenset(values)
            return (lambda device, _: device.id.startswith(values)) if prefix else (lambda device, _: device.id in ids)
        case OnlineTerm():
            return lambda device, _: device.online
        case SeenTerm():
            return _seen(term)
        case FactTerm():
            return _fact(term)


def _seen(term: SeenTerm) -> Matcher:
    """Never is longer ago than any time."""
    seconds, longer = term.seconds, term.comparison in {TermComparison.ABOVE, TermComparison.AT_LEAST}
    exactly = term.comparison in {TermComparison.AT_MOST, TermComparison.AT_LEAST}

    def is_so(device: DeviceFacts, now: float) -> bool:
        if device.seen_at is None:
            return longer
        moment = now - seconds
        if device.seen_at == moment:
            return exactly
        return device.seen_at < moment if longer else device.seen_at > moment

    return is_so


def _fact(term: FactTerm) -> Matcher:
    key, value, comparison = (term.subject, term.name), term.value, term.comparison
    match comparison:
        case TermComparison.THERE:
            return lambda device, _: key in device.values
        case TermComparison.EQUAL if term.subject is FactSubject.STATE:
            ended = (FactSubject.OUTCOME, term.name)
            return lambda device, _: value in device.values.get(key, ()) or value in device.values.get(ended, ())
        case TermComparison.EQUAL:
            return lambda device, _: value in device.values.get(key, ())
        case TermComparison.PREFIX:
            return lambda device, _: any(one.startswith(value) for one in device.values.get(key, ()))
        case _:
            wanted = rank(value) or ""
            return lambda device, _: any(
                (found := rank(one)) is not None and compares(found, comparison, wanted)
                for one in device.values.get(key, ())
            )
