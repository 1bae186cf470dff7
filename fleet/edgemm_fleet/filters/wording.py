"""A filter in plain English, for who is about to act on the devices that it means."""

from __future__ import annotations

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
)

_HOW = {
    TermComparison.EQUAL: "is",
    TermComparison.SAME: "is",
    TermComparison.PREFIX: "begins with",
    TermComparison.BELOW: "is below",
    TermComparison.AT_MOST: "is at most",
    TermComparison.ABOVE: "is above",
    TermComparison.AT_LEAST: "is at least",
}
_AGO = {
    TermComparison.BELOW: "less than",
    TermComparison.AT_MOST: "at most",
    TermComparison.ABOVE: "more than",
    TermComparison.AT_LEAST: "at least",
}
_OF = {
    FactSubject.RUNTIME: "edgemm's version",
    FactSubject.ARCH: "architecture",
    FactSubject.OS: "operating system",
}


def explained(expression: Expression) -> str:
    """Return what a filter asks of a device, in words."""
    match expression:
        case AllOf(()):
            text = "every device"
        case AllOf(parts):
            text = " and ".join(_part(part) for part in parts)
        case AnyOf(parts):
            text = " or ".join(_part(part) for part in parts)
        case NotTerm(part):
            text = f"not ({explained(part)})"
        case IdTerm(values, prefix):
            text = f"id {'begins with' if prefix else 'is'} {' or '.join(values)}"
        case OnlineTerm():
            text = "connected"
        case SeenTerm(comparison, _, ago):
            never = ", or never" if comparison in {TermComparison.ABOVE, TermComparison.AT_LEAST} else ""
            text = f"heard of {_AGO[comparison]} {ago} ago{never}"
        case FactTerm():
            text = _fact(expression)
    return text


def _part(expression: Expression) -> str:
    return f"({explained(expression)})" if isinstance(expression, AllOf | AnyOf) else explained(expression)


def _fact(term: FactTerm) -> str:
    match term.subject:
        case FactSubject.STATE if term.comparison is TermComparison.THERE:
            return f"has the model {term.name}"
        case FactSubject.LABEL | FactSubject.ENGINE if term.comparison is TermComparison.THERE:
            return f"has the {term.subject} {term.name}"
        case FactSubject.LABEL:
            what = f"label {term.name}"
        case FactSubject.ENGINE:
            what = f"version of engine {term.name}"
        case FactSubject.VERSION | FactSubject.STATE:
            what = f"{term.subject} of {term.name}"
        case _:
            what = _OF[term.subject]
    return f"{what} {_HOW[term.comparison]} {term.value}"
