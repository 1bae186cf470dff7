"""The tree of a filter, and its canonical text.

Leaves are about a device's id, its connection, or one of its facts: a label, the version or state of a model, an
engine, the machine. Each fact has a subject, a name and a value, and a device may have several values of one name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeAlias


class FactSubject(StrEnum):
    """What a fact is about; its name is a label's, a model's or an engine's, and empty for the machine's."""

    LABEL = "label"
    VERSION = "version"
    STATE = "state"
    OUTCOME = "outcome"
    """A failed end of the last update, which a device may report no longer; `state` terms look at it too."""
    ENGINE = "engine"
    RUNTIME = "runtime"
    ARCH = "arch"
    OS = "os"


OF_A_MODEL = frozenset({FactSubject.VERSION, FactSubject.STATE})
"""Subjects whose name is a model's."""
WORDS = frozenset(
    {*(one.value for one in FactSubject if one is not FactSubject.OUTCOME), "id", "model", "online", "seen"}
)
"""Words that begin a term of their own; any other begins one about a label."""


class TermComparison(StrEnum):
    """How a fact's value is looked at; the last five compare by rank (`ranks.rank`)."""

    THERE = ":"
    EQUAL = "="
    PREFIX = "^="
    SAME = "=="
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="


ORDERED = frozenset(
    {TermComparison.SAME, TermComparison.BELOW, TermComparison.AT_MOST, TermComparison.ABOVE, TermComparison.AT_LEAST}
)


@dataclass(frozen=True)
class FactTerm:
    """Some fact of this subject and name has such a value."""

    subject: FactSubject
    name: str
    comparison: TermComparison
    value: str = ""
    column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class IdTerm:
    """The id is one of these, or begins so."""

    values: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True)
class OnlineTerm:
    """The device is connected."""


@dataclass(frozen=True)
class SeenTerm:
    """How long ago the device was heard of, in seconds; never is longer than any time."""

    comparison: TermComparison
    seconds: float
    written: str = field(compare=False)


@dataclass(frozen=True)
class NotTerm:
    """The opposite."""

    part: Expression


@dataclass(frozen=True)
class AllOf:
    """Every part; without parts, every device."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = FactTerm | IdTerm | OnlineTerm | SeenTerm | NotTerm | AllOf | AnyOf

_BARE_VALUE = re.compile(r'[^\s()"=!^<>][^\s()"]*')
_BARE_NAME = re.compile(r'[^\s()":=!^<>]+')
_ALONE = frozenset({"id", "version", "runtime", "engine", "seen"})
"""Words that no label's name stands for without quotes, whatever the comparison."""
_RANKED_WORDS = ("version", "runtime", "engine", "seen")
_CONNECTIVES = frozenset({"and", "or", "not"})


def written(expression: Expression) -> str:
    """Return the canonical text; reading it gives the same tree."""
    match expression:
        case AllOf(parts):
            text = " ".join(f"({written(one)})" if isinstance(one, AllOf | AnyOf) else written(one) for one in parts)
        case AnyOf(parts):
            text = " or ".join(f"({written(one)})" if isinstance(one, AnyOf) else written(one) for one in parts)
        case NotTerm(FactTerm(comparison=TermComparison.EQUAL | TermComparison.SAME) as part) if _takes_unequal(part):
            text = _fact(part, unequal=True)
        case NotTerm(IdTerm(values=(value,), prefix=False)):
            text = f"id!={quoted(value)}"
        case NotTerm(part):
            text = f"not ({written(part)})" if isinstance(part, AllOf | AnyOf) else f"not {written(part)}"
        case IdTerm(values=(value,), prefix=prefix):
            text = f"id{'^=' if prefix else '='}{quoted(value)}"
        case IdTerm(values):
            text = "(" + " or ".join(f"id={quoted(one)}" for one in values) + ")"
        case OnlineTerm():
            text = "online"
        case SeenTerm(comparison, _, ago):
            text = f"seen{comparison}{quoted(ago)}"
        case FactTerm():
            text = _fact(expression)
    return text


def needed(parts: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """Return the parts that hold together without each `model:NAME` that only says of which model another part is."""
    told = {part.name for part in parts if isinstance(part, FactTerm) and _is_of_its_model(part)}
    return tuple(part for part in parts if (name := model_named(part)) is None or name not in told)


def model_named(part: Expression) -> str | None:
    """Return the model that a term `model:NAME` names; None: it is another term."""
    match part:
        case FactTerm(FactSubject.STATE, name, TermComparison.THERE):
            return name
        case _:
            return None


def _is_of_its_model(term: FactTerm) -> bool:
    return term.subject in OF_A_MODEL and term.comparison is not TermComparison.THERE


def leaves(expression: Expression) -> Iterator[FactTerm | IdTerm | OnlineTerm | SeenTerm]:
    """Yield the terms of a filter, from left to right."""
    match expression:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case NotTerm(part):
            yield from leaves(part)
        case _:
            yield expression


def is_lasting(expression: Expression) -> bool:
    """Tell whether a filter asks for nothing that comes and goes, or that an update changes: ids and labels alone."""
    return all(
        isinstance(term, IdTerm) or (isinstance(term, FactTerm) and term.subject is FactSubject.LABEL)
        for term in leaves(expression)
    )


def quoted(value: str) -> str:
    """Return a value as a filter has it, in quotes where it would end too early."""
    return value if _BARE_VALUE.fullmatch(value) else _in_quotes(value)


def ranked_word(name: str) -> str | None:
    """Return the word that is compared with `<` and resembles a label's name; that name then needs quotes."""
    return next(iter(get_close_matches(name, _RANKED_WORDS, n=1, cutoff=0.8)), None)


def _label(name: str) -> str:
    plain = _BARE_NAME.fullmatch(name) and name not in _CONNECTIVES and name not in _ALONE
    return name if plain else _in_quotes(name)


def _takes_unequal(term: FactTerm) -> bool:
    return term.comparison is TermComparison.SAME or term.subject is FactSubject.LABEL


def _fact(term: FactTerm, *, unequal: bool = False) -> str:
    sign = "!=" if unequal else "=" if term.comparison is TermComparison.SAME else term.comparison.value
    match term.subject:
        case FactSubject.LABEL if term.comparison is TermComparison.THERE:
            text = f"label:{quoted(term.name)}"
        case FactSubject.LABEL:
            name = _in_quotes(term.name) if term.comparison in ORDERED and ranked_word(term.name) else _label(term.name)
            text = f"{name}{sign}{quoted(term.value)}"
        case FactSubject.STATE if term.comparison is TermComparison.THERE:
            text = f"model:{quoted(term.name)}"
        case FactSubject.ENGINE if term.comparison is TermComparison.THERE:
            text = f"engine:{quoted(term.name)}"
        case FactSubject.ENGINE:
            text = f"engine{sign}{quoted(f'{term.name}@{term.value}')}"
        case FactSubject.STATE | FactSubject.ARCH | FactSubject.OS:
            text = f"{term.subject}:{quoted(term.value)}"
        case _:
            text = f"{term.subject}{sign}{quoted(term.value)}"
    return text


def _in_quotes(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
