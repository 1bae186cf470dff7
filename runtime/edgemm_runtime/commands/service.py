"""The commands `edgemm service`: run this device under systemd."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct

from edgemm.configuration.options import path_words
from edgemm.errors import InputError
from edgemm_runtime.commands.access_options import read_access
from edgemm_runtime.commands.configuration import read_configuration
from edgemm_runtime.commands.cors_option import read_origins
from edgemm_runtime.commands.listen_option import read_addresses
from edgemm_runtime.commands.managing import read_address
from edgemm_runtime.service import installation
from edgemm_runtime.service.installation import Places, Systemd
from edgemm_runtime.service.unit import NAME, STATE, Scope, unit_text

Command = TypeVar("Command", bound=Callable[..., object])
_MANAGE = "--manage"
_RUN_ARGUMENTS = {"ignore_unknown_options": True}


class ServiceState(Struct, frozen=True):
    """What `edgemm service status --json` prints; `status` is what the process says of itself."""

    unit: str
    installed: bool
    active: str
    detail: str
    enabled: str
    since: str
    restarts: int
    pid: int
    status: str


@click.group()
def service() -> None:
    """Run this device as a systemd service: install, uninstall, status, show."""


def _scope(command: Command) -> Command:
    command = click.option(
        "--user", "scope", flag_value=Scope.USER, type=Scope, help="The service manager of this user."
    )(command)
    return click.option(
        "--system", "scope", flag_value=Scope.SYSTEM, type=Scope, default=Scope.SYSTEM,
        help="The service manager of the system (the default).",
    )(command)  # fmt: skip


def _arguments(command: Command) -> Command:
    command = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[RUN OPTIONS]...")(command)
    return click.option("--token", help="The enrolment token; kept in a file that only its owner reads.")(command)


@service.command(context_settings=_RUN_ARGUMENTS)
@_scope
@_arguments
def show(*, scope: Scope, arguments: tuple[str, ...], token: str | None) -> None:
    """Print the unit that `install` would write, with the options of `edgemm run`; change nothing."""
    _ = token  # the unit does not hold it
    click.echo(_unit(scope, arguments, installation.places(scope)), nl=False)


@service.command(context_settings=_RUN_ARGUMENTS)
@_scope
@_arguments
def install(*, scope: Scope, arguments: tuple[str, ...], token: str | None) -> None:
    """Write the unit, enable it and start it, with the options of `edgemm run`.

    For example: edgemm service install --fleet https://fleet.example:8443 --token emt1_…
    """
    where = installation.places(scope)
    unit = _unit(scope, arguments, where)
    secrets = installation.secrets_text(token) if token else None
    installation.install(Systemd(scope), where, unit=unit, secrets=secrets)
    user = " --user" if scope is Scope.USER else ""
    click.echo(f"{where.unit}: enabled and started; follow it with: journalctl{user} --unit {NAME} --follow")
    if user:
        click.echo("to have it run while you are not logged in: loginctl enable-linger")


@service.command()
@_scope
def uninstall(*, scope: Scope) -> None:
    """Stop the service and remove its unit; the state folder stays."""
    removed = installation.uninstall(Systemd(scope), installation.places(scope))
    click.echo("\n".join(f"removed {path}" for path in removed) or "nothing was installed")


@service.command()
@_scope
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def status(*, scope: Scope, as_json: bool) -> int:
    """Tell how the service is; ends with status 1 where it is not active."""
    where = installation.places(scope)
    found = _state(Systemd(scope).state(), where.unit)
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif not found.installed:
        click.echo(f"{where.unit} is not there: edgemm service install")
    else:
        click.echo(f"{found.active} ({found.detail}) since {found.since or '–'}, {found.enabled}")
        click.echo(f"{found.status or 'it has said nothing of itself'}")
        click.echo(f"pid {found.pid or '–'}, restarted {found.restarts} times, {found.unit}")
    return int(found.active != "active")


def _state(told: dict[str, str], unit: Path) -> ServiceState:
    return ServiceState(
        unit=str(unit),
        installed=unit.exists(),
        active=told.get("ActiveState", "unknown"),
        detail=", ".join(part for part in (told.get("SubState"), told.get("Result")) if part),
        enabled=told.get("UnitFileState", "") or "not enabled",
        since=told.get("ActiveEnterTimestamp", ""),
        restarts=int(told.get("NRestarts") or 0),
        pid=int(told.get("MainPID") or 0),
        status=told.get("StatusText", ""),
    )


def _unit(scope: Scope, arguments: tuple[str, ...], where: Places) -> str:
    """Return the unit for what `edgemm run` is to be told, checked by the parser of `edgemm run` itself."""
    from edgemm_runtime.commands.run import run

    context = run.make_context("edgemm run", list(arguments))
    given = context.params
    _check_files(given)
    program, bundles = _program(), [path.resolve() for path in given["bundles"]]
    words, files = _from_anywhere(arguments, run)
    files += _from_anywhere(path_words(context), run)[1]
    if bool(bundles) == (given["fleet"] is not None):
        raise click.UsageError("expected --fleet URL, or the BUNDLE files to serve")
    if missing := next((path for path in bundles if not path.is_file()), None):
        raise InputError(f"no bundle {missing}: give the path of a file")
    for path, bundle in zip(given["bundles"], bundles, strict=True):
        if str(path) in words:  # else the configuration names it
            words[words.index(str(path))] = str(bundle)
    if given["fleet"] is not None and given["state_dir"] is None:
        words += ["--state-dir", STATE]
    hidden = installation.out_of_reach([program, *bundles, *files]) if scope is Scope.SYSTEM else None
    if hidden is not None:
        raise InputError(
            f"{hidden} lies in a home folder, which the system's service cannot see: "
            "install edgemm and put all files under /opt/edgemm, or use --user"
        )
    return unit_text(scope, [str(program), "run", *words], secrets=str(where.secrets))


def _check_files(given: Mapping[str, Any]) -> None:
    """Read the files that `edgemm run` is to read, so that a mistake is told now and not in a log.

    Raises:
        InputError: one is missing, or not what it should be.
    """
    if given["config"] is not None:
        read_configuration(given["config"])
    read_addresses(given["listen"])
    read_origins(given["cors"])
    read_access(**{name: given[name] for name in ("tls_cert", "tls_key", "api_key_file", "unix_socket")})
    if missing := next((path for path in given["shadows"] if not path.is_file()), None):
        raise InputError(f"no bundle {missing}: give the path of a file")


def _from_anywhere(arguments: Sequence[str], command: click.Command) -> tuple[list[str], list[Path]]:
    """Return the arguments with the paths of options absolute, and these paths: a service starts in another folder."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    of_paths = {name for one in options if isinstance(one.type, click.Path) for name in one.opts}
    words: list[str] = []
    paths: list[Path] = []

    def absolute(option: str, value: str) -> str:
        where = read_address(value) if option == _MANAGE else Path(value)
        if not isinstance(where, Path) or value.startswith(STATE):
            return value
        paths.append(where.resolve())
        return str(paths[-1])

    for word in arguments:
        option, equals, value = word.partition("=")
        if words and words[-1] in {*of_paths, _MANAGE}:
            words.append(absolute(words[-1], word))
        elif equals and option in {*of_paths, _MANAGE}:
            words.append(f"{option}={absolute(option, value)}")
        else:
            words.append(word)
    return words, paths


def _program() -> Path:
    """Return the `edgemm` that is running, past links to it."""
    found = shutil.which("edgemm", path=str(Path(sys.executable).parent)) or shutil.which("edgemm")
    if found is None:
        raise InputError("no edgemm command beside this Python: install edgemm with pip")
    return Path(found).resolve()
