"""`edgemm` commands that stand on pages, checked against the command line without being run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from edgemm.cli import edgemm
from tests.docs.pages import Block

_ASSIGNMENT = re.compile(r"\w+=")
_SEPARATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the arguments of each `edgemm` command of a shell block; in a console only lines with a prompt count."""
    text = block.text.replace("\\\n", " ")
    lines = text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        if "edgemm" in line and "<<" not in line:
            yield from _split(line)


def check(arguments: list[str]) -> None:
    """Assert that a command exists, takes these options and values, and has all that it needs.

    Raises:
        click.UsageError: it does not.
    """
    command: click.Command = edgemm
    context = click.Context(command, info_name="edgemm")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(context, arguments[0])
        if found is None:
            raise click.UsageError(f"no command {arguments[0]!r} in {context.command_path}")
        command = found
        context = click.Context(found, info_name=arguments[0], parent=context, **found.context_settings)
        arguments = arguments[1:]
    given, rest, _ = command.make_parser(context).parse_args(list(arguments))
    if rest and not isinstance(command, click.Group):
        raise click.UsageError(f"{context.command_path}: {rest} is more than it takes")
    if context.ignore_unknown_options:  # what it does not know itself goes to `edgemm run`
        check(["run", *given["arguments"]])
    for parameter in command.params:
        _check_value(parameter, given.get(parameter.name or ""), context)


def _check_value(parameter: click.Parameter, value: object, context: click.Context) -> None:
    texts = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(one, str)]
    if parameter.required and not texts:
        raise click.UsageError(f"{context.command_path}: {parameter.name} is missing")
    if isinstance(parameter.type, (click.Choice, click.types.IntParamType)):
        for text in texts:
            parameter.type(text, parameter, context)


def _split(line: str) -> Iterator[list[str]]:
    """Yield what follows each `edgemm` that stands where a shell expects a command."""
    found: list[str] | None = None
    at_start = True
    for word in shlex.split(line, comments=True):
        if word in _SEPARATORS:
            if found is not None:
                yield found
            found, at_start = None, True
        elif found is not None:
            found.append(word)
        elif at_start and (word == "edgemm" or word.endswith("/bin/edgemm")):
            found = []
        else:
            at_start = at_start and (word == "sudo" or _ASSIGNMENT.match(word) is not None)
    if found is not None:
        yield found
