"""The completion of a filter that is being typed: words, comparisons, states, and the labels of the fleet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgemm.states import UpdateState
from edgemm_fleet.filters.expressions import FactSubject, FactTerm, TermComparison, quoted, written
from edgemm_fleet.filters.filter_error import MAX_BYTES
from edgemm_fleet.filters.term_rules import SIGNS

_WRITTEN = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s()"])+', re.DOTALL)
_TERM = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s()":=!^<>]+)(!=|\^=|<=|>=|:|=|<|>)(.*)\Z', re.DOTALL)
_LABEL_SIGNS = ("=", "!=", "^=")


@dataclass(frozen=True)
class Known:
    """Names of labels that devices have, and values of the one that is being typed."""

    labels: Sequence[str] = ()
    values: Sequence[str] = ()


def label_asked(text: str) -> str | None:
    """Return the label whose value is being typed at the end of a filter; None: something else is."""
    term = _TERM.match(_last(text))
    if term is None or (term[1] in SIGNS and term[2] in SIGNS[term[1]]):
        return None
    return term[1].strip('"')


def completed(text: str, known: Known) -> list[str]:
    """Return what a filter may become whose last term is not finished."""
    last = _last(text)
    before = text[: len(text) - len(last)]
    term = _TERM.match(last)
    if term is None:
        found = [f"{word}{sign}" for word, signs in SIGNS.items() for sign in signs]
        found += ["online", "not ", "or "]
        found += [f"{_named(label)}{sign}" for label in known.labels for sign in _LABEL_SIGNS]
        return [f"{before}{one}" for one in found if one.startswith(last)]
    name, sign, value = term[1], term[2], term[3]
    values: Sequence[str] = known.values
    if name == "state" and sign == ":":
        values = [state.value for state in UpdateState]
    elif name == "label" and sign == ":":
        values = known.labels
    typed = value.removeprefix('"')
    return [f"{before}{name}{sign}{quoted(one)}" for one in values if one.startswith(typed)]


def _last(text: str) -> str:
    ends = [found[0] for found in _WRITTEN.finditer(text[:MAX_BYTES]) if found.end() == len(text)]
    return ends[0] if ends else ""


def _named(label: str) -> str:
    return written(FactTerm(FactSubject.LABEL, label, TermComparison.EQUAL, "x")).removesuffix("=x")
