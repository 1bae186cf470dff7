"""`--config FILE` and `--print-config` of a command: every option can stand in a file, by its name in the program.

    @click.command()
    @click.argument("bundles", cls=FileArgument, nargs=-1)
    @click.option("--port", type=int, default=8080)
    @configured(FileRules(secrets={"token": "set EDGEMM_TOKEN"}))
    def run(bundles, *, port, config, print_config): …

A new option needs nothing here: its type says what a file may give it. A value of the file is a default (click's
`default_map`), so that the command line and the environment are above it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgemm.configuration import toml_file
from edgemm.durations import Duration
from edgemm.errors import InputError

_META = "edgemm.configuration"
_OWN = frozenset({"config", "print_config"})
_BOUNDED = (click.types.IntParamType, click.types.FloatParamType, click.Choice, Duration)
"""Types whose bounds are told."""


@dataclass(frozen=True)
class FileRules:
    """What a file of one command may not have, and what it may have beside the options."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    """Options that no file may give and that are never shown, and what to do instead."""

    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Names that have another name or place in a file, and which."""

    tables: Collection[str] = ()
    """Other names at the top of the file, which the command reads by itself (`rest`)."""

    @property
    def not_in_file(self) -> Mapping[str, str]:
        """Names that may not stand at the top of a file, and what to do instead."""
        return {**self.secrets, **self.elsewhere}


class FileArgument(click.Argument):
    """An argument that a file may give, too."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Return what was typed, or else what the file says."""
        value, source = super().consume_value(ctx, opts)
        given = (ctx.default_map or {}).get(self.name or "")
        if source is not ParameterSource.COMMANDLINE or value in {(), None}:
            return (given, ParameterSource.DEFAULT_MAP) if given else (value, source)
        return value, source


def configured(rules: FileRules) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the two options; the command gets them as `config` (a path) and `print_config`."""

    def load(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:  # noqa: ARG001 - click's signature
        if path is not None and not ctx.resilient_parsing:
            values, others = split(toml_file.read(path), ctx, rules, path=path)
            ctx.default_map = {**(ctx.default_map or {}), **values}
            ctx.meta[_META] = others
        return path

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option(
            "--print-config", is_flag=True, help="Print what holds and where it came from, as such a file, and end."
        )(command)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            is_eager=True,
            callback=load,
            help="A TOML file with these options and more; those of the command line are stronger.",
        )(command)

    return add


def rest(ctx: click.Context) -> Mapping[str, Any]:
    """Return what the file has at its top beside options: the names in `FileRules.tables`."""
    found: Mapping[str, Any] = ctx.meta.get(_META, {})
    return found


def split(
    table: Mapping[str, Any], ctx: click.Context, rules: FileRules, *, path: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of options and the rest of a file; relative paths are those from the file's folder.

    Raises:
        InputError: a name that is not known, or a value that its option does not take.
    """
    params = {p.name: p for p in ctx.command.params if p.name and p.name not in _OWN}
    known = [*(name for name in params if name not in rules.not_in_file), *rules.tables]
    values, others = dict[str, Any](), dict[str, Any]()
    for key, value in table.items():
        if key in rules.secrets:
            raise InputError(f"{path}: {key}: not in a file: {rules.secrets[key]}")
        if key in rules.elsewhere:
            raise InputError(f"{path}: {key}: {rules.elsewhere[key]}")
        if key in rules.tables:
            others[key] = value
        elif key in params:
            values[key] = _value(params[key], value, ctx, name=f"{path}: {key}", folder=path.parent)
        else:
            raise InputError(f"{path}: {toml_file.unknown('setting', key, known)}")
    return values, others


def origin(ctx: click.Context, name: str) -> str:
    """Return where the value of an option came from, in words."""
    match ctx.get_parameter_source(name):
        case ParameterSource.COMMANDLINE:
            return "command line"
        case ParameterSource.ENVIRONMENT:
            return "environment"
        case ParameterSource.DEFAULT_MAP:
            return "file"
        case _:
            return "default"


def path_words(ctx: click.Context) -> list[str]:
    """Return the paths that the file gave as they would stand on the command line, with their options."""
    words: list[str] = []
    for param in ctx.command.params:
        if isinstance(param.type, click.Path) and param.name and origin(ctx, param.name) == "file":
            given = ctx.params[param.name]
            for path in given if isinstance(given, list | tuple) else [given]:
                words += [param.opts[0], str(path)] if isinstance(param, click.Option) else [str(path)]
    return words


def _value(param: click.Parameter, value: object, ctx: click.Context, *, name: str, folder: Path) -> Any:
    if (isinstance(param, click.Option) and param.multiple) or param.nargs == -1:
        many = value if isinstance(value, list) else [value]
        return [_one(param, one, ctx, name=name, folder=folder) for one in many]
    return _one(param, value, ctx, name=name, folder=folder)


def _one(param: click.Parameter, value: object, ctx: click.Context, *, name: str, folder: Path) -> Any:
    wanted, fits = _kind(param)
    if not fits(value):
        raise InputError(f"{name}: expected {wanted}, found {toml_file.written(value)}")
    if isinstance(param.type, click.Path):
        value = folder.absolute() / _past_home(str(value), name=name)
    try:
        return param.type.convert(value, param, ctx)
    except click.BadParameter as err:
        if isinstance(param.type, _BOUNDED):
            raise InputError(f"{name}: expected {wanted}, found {toml_file.written(value)}") from err
        raise InputError(f"{name}: {err.message.rstrip('.')}") from err


def _past_home(path: str, *, name: str) -> Path:
    """Return a path with the home folder in the place of a `~` that it begins with, as a shell has it."""
    try:
        return Path(path).expanduser()
    except RuntimeError as err:
        raise InputError(f"{name}: no home folder is known for {toml_file.written(path)}: give the whole path") from err


def _kind(param: click.Parameter) -> tuple[str, Callable[[object], bool]]:
    """Return what a file must give an option, in words, and the test of its type."""
    kind = param.type
    if isinstance(kind, click.types.BoolParamType):
        return "true or false", lambda value: isinstance(value, bool)
    if isinstance(kind, Duration):
        bounds = f"from {kind.min_s:g} to {kind.max_s:g} seconds"
        return f"a duration {bounds}", lambda value: isinstance(value, str) or _is_number(value)
    if isinstance(kind, click.types.IntParamType):
        return f"a whole number{_bounds(kind)}", lambda value: isinstance(value, int) and _is_number(value)
    if isinstance(kind, click.types.FloatParamType):
        return f"a number{_bounds(kind)}", _is_number
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(map(str, kind.choices))}", lambda value: isinstance(value, str)
    words = "a path" if isinstance(kind, click.Path) else "a text"
    return words, lambda value: isinstance(value, str) and bool(value) and "\0" not in value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounds(kind: object) -> str:
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if least is None and most is None:
        return ""
    if most is None:
        return f" of at least {least:,}"
    return f" from {least:,} to {most:,}" if least is not None else f" of at most {most:,}"
