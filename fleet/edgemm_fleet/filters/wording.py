"""A filter in plain English, for who is about to act on the devices that it means."""

from __future__ import annotations

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
)

_HOW = {
    Comparison.EQUAL: "is",
    Comparison.SAME: "is",
    Comparison.PREFIX: "begins with",
    Comparison.BELOW: "is below",
    Comparison.AT_MOST: "is at most",
    Comparison.ABOVE: "is above",
    Comparison.AT_LEAST: "is at least",
}
_AGO = {
    Comparison.BELOW: "less than",
    Comparison.AT_MOST: "at most",
    Comparison.ABOVE: "more than",
    Comparison.AT_LEAST: "at least",
}
_OF = {
    Subject.RUNTIME: "edgemm's version",
    Subject.ARCH: "architecture",
    Subject.OS: "operating system",
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
            never = ", or never" if comparison in {Comparison.ABOVE, Comparison.AT_LEAST} else ""
            text = f"heard of {_AGO[comparison]} {ago} ago{never}"
        case FactTerm():
            text = _fact(expression)
    return text


def _part(expression: Expression) -> str:
    return f"({explained(expression)})" if isinstance(expression, AllOf | AnyOf) else explained(expression)


def _fact(term: FactTerm) -> str:
    match term.subject:
        case Subject.STATE if term.comparison is Comparison.THERE:
            return f"has the model {term.name}"
        case Subject.LABEL | Subject.ENGINE if term.comparison is Comparison.THERE:
            return f"has the {term.subject} {term.name}"
        case Subject.LABEL:
            what = f"label {term.name}"
        case Subject.ENGINE:
            what = f"version of engine {term.name}"
        case Subject.VERSION | Subject.STATE:
            what = f"{term.subject} of {term.name}"
        case _:
            what = _OF[term.subject]
    return f"{what} {_HOW[term.comparison]} {term.value}"
