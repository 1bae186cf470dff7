"""The text of `--print-config`: all that holds as TOML that can be fed back, each with where it came from. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from edgemm.configuration import toml_file
from edgemm.configuration.options import FileRules, origin

_LOGIN = re.compile(r"(?<=://)[^/?#]*@")
_WIDTH = 44


@dataclass(frozen=True)
class Shown:
    """One line: a name, its value (None: there is none), and where it came from in words."""

    name: str
    value: object
    origin: str


def option_lines(ctx: click.Context, rules: FileRules) -> list[Shown]:
    """Return a line for each option that a file may give, in the order of the help."""
    skipped = {"config", "print_config", *rules.not_in_file}
    names = [param.name for param in ctx.command.params if param.name and param.name not in skipped]
    return [Shown(name, _absolute(ctx.params.get(name)), origin(ctx, name)) for name in names]


def kept_back(ctx: click.Context, rules: FileRules) -> list[str]:
    """Return notes on secrets that are set."""
    set_ones = [name for name in rules.secrets if ctx.params.get(name)]
    return [f"{name} is set by the {origin(ctx, name)}, and not shown: {rules.secrets[name]}" for name in set_ones]


def text(
    lines: Iterable[Shown], tables: Mapping[str, Iterable[Shown]], *, notes: Iterable[str], where: Callable[[str], str]
) -> str:
    """Return the TOML; `where` says an origin in full, and logins in URLs are left out."""
    parts = [*(f"# {note}\n" for note in notes), *(_line(one, where) for one in lines)]
    for table, entries in tables.items():
        parts += [f"\n[{table}]\n", *(_line(one, where) for one in entries)]
    return "".join(parts)


def configuration_text(ctx: click.Context, rules: FileRules) -> str:
    """Return what holds of a command whose file gives options and nothing else."""
    file = str(ctx.params["config"])
    return text(option_lines(ctx, rules), {}, notes=kept_back(ctx, rules), where=lambda o: file if o == "file" else o)


def hide_login(text: str) -> str:
    """Return a text without the logins of URLs in it."""
    return _LOGIN.sub("", text)


def _absolute(value: object) -> object:
    """Return a value with paths as they are from any folder."""
    if isinstance(value, tuple | list):
        return [_absolute(one) for one in value]
    return value.absolute() if isinstance(value, Path) else value


def _line(one: Shown, where: Callable[[str], str]) -> str:
    if one.value is None or one.value in ((), []):
        return f"{f'# {one.name} =':{_WIDTH}} # none: {where(one.origin)}\n"
    written = toml_file.written(one.value)
    shown = hide_login(written)
    note = "" if shown == written else ", its login is not shown"
    return f"{f'{one.name} = {shown}':{_WIDTH}} # {where(one.origin)}{note}\n"
