"""The grammar of filters, read by recursive descent.

    filter  = all {"or" all}
    all     = part {["and"] part}
    part    = "not" part | "(" filter ")" | term
    term    = "online" | name comparison value
    comparison = ":" | "=" | "!=" | "^=" | "<" | "<=" | ">" | ">="

A name in quotes is always a label's. A term about a model, such as `version<1.2`, means the `model:NAME` that stands
nearest to its left among the terms that hold together with it, else nearest to its right, else the one that the group
around them means, else the model whose rollout or view this is.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches

from edgemm_fleet.filters import term_rules
from edgemm_fleet.filters.expressions import (
    OF_A_MODEL,
    WORDS,
    AllOf,
    AnyOf,
    Expression,
    FactTerm,
    NotTerm,
    OnlineTerm,
    model_named,
)
from edgemm_fleet.filters.filter_error import MAX_BYTES, FilterError, FilterTooLongError

MAX_DEPTH = 16
"""How deep `not` and parentheses may be nested."""
MAX_TERMS = 64
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r'[^\s()":=!^<>]+')
_SIGN = re.compile(r"!=|\^=|<=|>=|:|=|<|>")
_VALUE = re.compile(r'[^\s()"]+')
_SIGNS = "=!^<>"
"""Characters of comparisons: a value that begins with one, and stands in no quotes, is another language's `==`."""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_CONNECTIVE = re.compile(r'(and|or|not)(?=[\s("]|$)|(and|or)(?=\))')


def parse(text: str, *, model: str | None = None) -> Expression:
    """Read a filter; `model` is the one that `version`, `state` and the like mean without `model:NAME` beside them.

    Raises:
        FilterError: it cannot be read.
    """
    size = len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise FilterTooLongError(size)
    reader = _Reader(text)
    read = reader.whole()
    return _bound(read, model, text)


class _Reader:
    """One text, and how far it is read."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._depth = self._terms = 0

    def whole(self) -> Expression:
        """Return what the text means, models not yet named."""
        found = self._either()
        if self._at < len(self._text):
            raise self._error("a parenthesis is closed that was never opened")
        return found

    def _either(self) -> Expression:
        parts = [self._every()]
        while self._takes("or"):
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _every(self) -> Expression:
        parts = [self._part()]
        while self._takes("and") or not self._ends():
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _part(self) -> Expression:
        start = self._at
        if self._takes("not"):
            self._deeper(start)
            found: Expression = NotTerm(self._part())
        elif self._text.startswith("(", self._at):
            self._deeper(start)
            self._at = start + 1
            self._skip()
            found = self._either()
            if not self._text.startswith(")", self._at):
                raise self._error(f"expected ) for the ( of column {start + 1}")
            self._at += 1
            self._skip()
        else:
            return self._term()
        self._depth -= 1
        return found

    def _deeper(self, at: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"nested deeper than {MAX_DEPTH}: leave parentheses out", text=self._text, at=at)

    def _ends(self) -> bool:
        """Tell whether no further part of this group follows."""
        rest = _CONNECTIVE.match(self._text, self._at)
        return self._at >= len(self._text) or self._text[self._at] == ")" or (rest is not None and rest[0] == "or")

    def _takes(self, word: str) -> bool:
        self._skip()
        found = _CONNECTIVE.match(self._text, self._at)
        if found is None or (found[1] or found[2]) != word:
            return False
        self._at = found.end()
        self._skip()
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _term(self) -> Expression:
        start = self._at
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._error(f"more than {MAX_TERMS} terms: label the devices that are meant")
        is_quoted = self._text.startswith('"', start)
        name = self._quoted() if is_quoted else self._bare_name()
        sign = _SIGN.match(self._text, self._at)
        if sign is None:
            if name == "online" and not is_quoted:
                self._skip()
                return OnlineTerm()
            self._at = start
            raise self._error(f"{name!r} is no term: expected one such as site=plant-7{_perhaps(name)}")
        self._at = sign.end()
        at = self._at
        value = self._value(sign[0])
        term = term_rules.GivenTerm(name, sign[0], value, text=self._text, start=start, value_at=at)
        found = term_rules.label(term) if is_quoted else term_rules.read(term)
        self._skip()
        return found

    def _bare_name(self) -> str:
        self._skip()
        found = _NAME.match(self._text, self._at)
        if found is None or _CONNECTIVE.match(self._text, self._at):
            there = (
                f"found {found[0] if found else self._text[self._at]!r}"
                if self._at < len(self._text)
                else "found the end"
            )
            raise self._error(f"expected a term such as site=plant-7, {there}")
        self._at = found.end()
        return found[0]

    def _value(self, sign: str) -> str:
        if self._text.startswith('"', self._at):
            return self._quoted()
        found = _VALUE.match(self._text, self._at)
        if found is None:
            raise self._error(f'expected a value after {sign} (a value with spaces or parentheses: "in quotes")')
        if found[0][0] in _SIGNS:
            raise self._error(
                f"expected a value after {sign}, found {found[0][:40]!r}: one that begins with {found[0][0]} is put in "
                "quotes"
            )
        self._at = found.end()
        if self._text.startswith('"', self._at):
            raise self._error('a quote in the middle of a value: put all of it in quotes, and \\" for a quote')
        return found[0]

    def _quoted(self) -> str:
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise self._error('a quote is opened and not closed (\\" and \\\\ stand for a quote and a backslash)')
        self._at = found.end()
        return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)

    def _error(self, message: str) -> FilterError:
        return FilterError(message, text=self._text, at=self._at)


def lone_word(word: str) -> str | None:
    """Return the word that stands alone in a filter and that this one resembles."""
    return next(iter(get_close_matches(word.lower(), ("online", "and", "or", "not"), n=1, cutoff=0.6)), None)


def _perhaps(word: str) -> str:
    """Return which known word was perhaps meant."""
    close = lone_word(word) or next(iter(get_close_matches(word.lower(), sorted(WORDS), n=1, cutoff=0.6)), None)
    return f"; did you mean {close}?" if close else ""


def _bound(expression: Expression, model: str | None, text: str) -> Expression:
    """Return the filter with the model named in each term that is about one.

    Raises:
        FilterError: nothing says of which model.
    """
    match expression:
        case AllOf(parts):
            named = [(index, name) for index, part in enumerate(parts) if (name := model_named(part))]
            scopes = [_scope(named, index) or model for index in range(len(parts))]
            return AllOf(tuple(_bound(part, scope, text) for part, scope in zip(parts, scopes, strict=True)))
        case AnyOf(parts):
            return AnyOf(tuple(_bound(part, model, text) for part in parts))
        case NotTerm(part):
            return NotTerm(_bound(part, model, text))
        case FactTerm(subject, "") if subject in OF_A_MODEL:
            if model is None:
                raise FilterError(
                    f"{subject} of which model? Put model:NAME beside it", text=text, at=expression.column
                )
            return replace(expression, name=model)
        case _:
            return expression


def _scope(named: list[tuple[int, str]], index: int) -> str | None:
    before = [name for at, name in named if at <= index]
    after = [name for at, name in named if at > index]
    return before[-1] if before else after[0] if after else None
