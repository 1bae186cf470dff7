"""The rules of single terms: which comparisons a word takes, and what its value must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches

from edgemm.bundle.manifest import MODEL_NAME_PATTERN
from edgemm.durations import LONGEST_S, in_seconds
from edgemm.states import UpdateState
from edgemm_fleet.filters.expressions import (
    Expression,
    FactSubject,
    FactTerm,
    IdTerm,
    NotTerm,
    SeenTerm,
    TermComparison,
    ranked_word,
)
from edgemm_fleet.filters.filter_error import FilterError
from edgemm_fleet.filters.ranks import rank


@dataclass(frozen=True)
class GivenTerm:
    """A term as it is written; places count characters of the whole text from 0."""

    name: str
    sign: str
    value: str
    text: str
    start: int
    value_at: int

    def wrong(self, message: str, *, in_value: bool = False) -> FilterError:
        """Return the error at the term, or at its value."""
        return FilterError(message, text=self.text, at=self.value_at if in_value else self.start)


def read(given: GivenTerm) -> Expression:
    """Return what a term means whose name is not in quotes.

    Raises:
        FilterError: it means nothing.
    """
    rule = _RULES.get(given.name)
    if rule is not None and (given.sign in rule.signs or rule.alone):
        if given.sign not in rule.signs:
            quoted = f'; a label of this name: "{given.name}"{given.sign}…'
            takes = ", ".join(f"{given.name}{sign}" for sign in rule.signs)
            raise given.wrong(f"{given.name} takes {takes}{quoted if given.sign != ':' else ''}")
        if not given.value:
            raise given.wrong(f"{given.name}{given.sign} needs a value", in_value=True)
        return rule.read(given)
    if given.sign == ":":
        if given.name == "online":
            raise given.wrong(f"online takes no value: online, or not online; a label: online={given.value}")
        close = _meant(given)
        meant = f"did you mean {close}:{given.value}, or " if close else ""
        raise given.wrong(
            f"no word {given.name!r} takes a colon: {meant}a label: {given.name}={given.value or 'VALUE'}"
        )
    if given.sign in _BY_RANK and (ranked := ranked_word(given.name)):
        quoted = f'"{given.name}"{given.sign}{given.value}'
        raise given.wrong(f"did you mean {ranked}? A label called {given.name} is written {quoted}")
    return label(given)


def _meant(given: GivenTerm) -> str | None:
    """Return the word that was perhaps meant before a colon: it takes one, and this value."""
    words = [word for word, rule in _RULES.items() if ":" in rule.signs]
    for word in get_close_matches(given.name.lower(), words, n=1, cutoff=0.6):
        with suppress(FilterError):
            read(replace(given, name=word))
            return word
    return None


def label(given: GivenTerm) -> Expression:
    """Return what a term about a label means.

    Raises:
        FilterError: it is compared as a version, with what is none.
    """
    if given.sign == ":":
        raise given.wrong(f"a label takes =, !=, ^=, <, <=, > and >=; that it is there at all: label:{given.name}")
    if given.sign in _BY_RANK:
        _check_rank(given, given.value)
        return FactTerm(FactSubject.LABEL, given.name, TermComparison(given.sign), given.value)
    prefix = given.sign == "^="
    term = FactTerm(
        FactSubject.LABEL, given.name, TermComparison.PREFIX if prefix else TermComparison.EQUAL, given.value
    )
    return NotTerm(term) if given.sign == "!=" else term


@dataclass(frozen=True)
class _Rule:
    """What one word takes; `alone`: its name in front of another sign is no label's either."""

    signs: tuple[str, ...]
    read: Callable[[GivenTerm], Expression]
    alone: bool = False


_BY_RANK = ("<", "<=", ">", ">=")


def _check_rank(given: GivenTerm, value: str) -> None:
    if rank(value) is None:
        raise given.wrong(f"expected a version or a number such as 1.2, found {value[:40]!r}", in_value=True)


def _ordered(given: GivenTerm, subject: FactSubject, *, name: str = "", value: str | None = None) -> Expression:
    value = given.value if value is None else value
    _check_rank(given, value)
    same = given.sign in {"=", "!="}
    comparison = TermComparison.SAME if same else TermComparison(given.sign)
    term = FactTerm(subject, name, comparison, value, column=given.start)
    return NotTerm(term) if given.sign == "!=" else term


def _identity(given: GivenTerm) -> Expression:
    term = IdTerm((given.value,), prefix=given.sign == "^=")
    return NotTerm(term) if given.sign == "!=" else term


def _seen(given: GivenTerm) -> Expression:
    if re.fullmatch(r"\d+(?:\.\d+)?", given.value, re.ASCII):
        raise given.wrong(
            f"{given.name}{given.sign}{given.value[:40]} needs a unit: expected s, min, h or d behind the number, such "
            f"as {given.value[:40]}h",
            in_value=True,
        )
    seconds = in_seconds(given.value)
    if seconds is None or seconds > LONGEST_S:
        raise given.wrong(
            f"expected a duration such as 90s, 15min, 1h or 7d, found {given.value[:40]!r}", in_value=True
        )
    return SeenTerm(TermComparison(given.sign), seconds, given.value)


def _state(given: GivenTerm) -> Expression:
    states = [state.value for state in UpdateState]
    if given.value not in states:
        close = get_close_matches(given.value.lower(), states, n=1, cutoff=0.6)
        meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(states)}"
        raise given.wrong(f"no state {given.value[:40]!r}: {meant}", in_value=True)
    return FactTerm(FactSubject.STATE, "", TermComparison.EQUAL, given.value, column=given.start)


def _model(given: GivenTerm) -> Expression:
    if re.search(MODEL_NAME_PATTERN, given.value) is None:
        raise given.wrong(
            f"expected the name of one model, of small letters, digits, '.', '_' and '-', found {given.value[:40]!r}",
            in_value=True,
        )
    return FactTerm(FactSubject.STATE, given.value, TermComparison.THERE)


def _engine(given: GivenTerm) -> Expression:
    name, mark, version = given.value.partition("@")
    if given.sign == ":":
        if mark:
            raise given.wrong(f"engine:{name} takes no version; with one: engine>={given.value}", in_value=True)
        return FactTerm(FactSubject.ENGINE, name, TermComparison.THERE)
    if not (name and version):
        raise given.wrong(f"expected NAME@VERSION such as tflite@2.1, found {given.value[:40]!r}", in_value=True)
    return _ordered(given, FactSubject.ENGINE, name=name, value=version)


def _machine(subject: FactSubject) -> Callable[[GivenTerm], Expression]:
    return lambda given: FactTerm(subject, "", TermComparison.EQUAL, given.value)


_VERSION_SIGNS = ("=", "!=", *_BY_RANK)
_RULES = {
    "id": _Rule(("=", "!=", "^="), _identity, alone=True),
    "version": _Rule(_VERSION_SIGNS, lambda given: _ordered(given, FactSubject.VERSION), alone=True),
    "runtime": _Rule(_VERSION_SIGNS, lambda given: _ordered(given, FactSubject.RUNTIME), alone=True),
    "engine": _Rule((":", *_VERSION_SIGNS), _engine, alone=True),
    "seen": _Rule(_BY_RANK, _seen, alone=True),
    "state": _Rule((":",), _state),
    "model": _Rule((":",), _model),
    "label": _Rule((":",), lambda given: FactTerm(FactSubject.LABEL, given.value, TermComparison.THERE)),
    "arch": _Rule((":",), _machine(FactSubject.ARCH)),
    "os": _Rule((":",), _machine(FactSubject.OS)),
}
SIGNS = {word: rule.signs for word, rule in _RULES.items()}
"""Word → the comparisons that it takes."""
