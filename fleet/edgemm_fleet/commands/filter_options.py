"""The option `--where` of the fleet's commands: a filter that says which devices are meant.

A filter that is one label, `--where site=hall`, is sent as that label, and several of one label mean any of them: so
was the option before there were filters, and managers of that time read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from msgspec import UNSET

from edgemm.errors import EdgemmError
from edgemm_fleet.commands.parameters import connect
from edgemm_fleet.filters import FilterError, parse, written
from edgemm_fleet.filters.completion import Known, completed, label_asked
from edgemm_fleet.filters.expressions import FactSubject, FactTerm, TermComparison
from edgemm_fleet.filters.grammar import lone_word
from edgemm_fleet.filters.term_rules import SIGNS
from edgemm_fleet.records.rollout_plan import Selector

Command = TypeVar("Command", bound=Callable[..., Any])
EXAMPLE = "'site=plant-7 version<1.2 not label:canary'"
_LONGEST = 128
"""What a label's name, or its value, has at most."""
_OPERATORS = frozenset('=<>:^"()')


def where_option(meaning: str = "Only devices that match") -> Callable[[Command], Command]:
    """Return the option, whose value is a tuple of texts for `selected`."""
    return click.option(
        "--where",
        multiple=True,
        metavar="FILTER",
        help=f"{meaning}, such as {EXAMPLE}; see docs/filters.md.",
        shell_complete=_complete,
    )


def selected(where: Sequence[str], *, devices: Sequence[str] = (), model: str | None = None) -> Selector:
    """Return the devices that are meant: of these, those that match every filter.

    Args:
        where: filters, as they were given.
        devices: ids; none stand for all devices.
        model: the one that `version` and `state` mean without `model:NAME` beside them.

    Raises:
        click.UsageError: a filter cannot be read.
    """
    labels: dict[str, tuple[str, ...]] = {}
    filters: list[str] = []
    for text in where:
        if (label := _label(text, model)) is not None:
            labels[label[0]] = (*labels.get(label[0], ()), label[1])
        else:
            filters.append(text)
    joined = " ".join(f"({text})" for text in filters) if len(filters) > 1 else "".join(filters)
    try:
        canonical = written(parse(joined, model=model)) if filters else UNSET
    except FilterError as err:
        raise click.UsageError(str(err)) from err
    return Selector(labels=labels, devices=tuple(devices) or None, where=canonical)


def _label(text: str, model: str | None) -> tuple[str, str] | None:
    """Return the name and the value, where a filter is one label and no more.

    Raises:
        click.UsageError: it cannot be read.
    """
    try:
        read = parse(text, model=model)
    except FilterError as err:
        name, mark, value = text.partition("=")
        if mark and name and _was_a_label(name, value):
            return name, value
        raise click.UsageError(str(err)) from err
    match read:
        case FactTerm(FactSubject.LABEL, name, TermComparison.EQUAL, value):
            return name, value
        case _:
            return None


def _was_a_label(name: str, value: str) -> bool:
    """Tell whether a text that is no filter is still a label, such as `hall=north wing`.

    What looks like the beginning of another term, or begins with a word that filters have, is not: it is a slip.
    """
    if len(name) > _LONGEST or len(value) > _LONGEST:
        return False
    return name not in SIGNS and not _OPERATORS & set(f"{name}{value}") and not any(map(lone_word, value.split()[1:]))


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's
    known = Known()
    try:
        with connect() as client:
            name = label_asked(incomplete)
            words = client.label_words(name)
            known = Known(labels=words.names, values=words.values)
    except (EdgemmError, OSError):
        pass  # not logged in, or out of reach: the words of the language are known all the same
    return [CompletionItem(text) for text in completed(incomplete, known)]
