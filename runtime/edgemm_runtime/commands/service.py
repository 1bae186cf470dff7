"""The commands `edgemm service`: run this device under systemd."""

from __future__ import annotations

import grp
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from msgspec import Struct

import edgemm_runtime
from edgemm.errors import EnvironmentFailure, InputError
from edgemm.outlet import say, say_document, say_json
from edgemm_runtime.commands.access_options import API_KEY, read_access
from edgemm_runtime.commands.service_arguments import RunArguments, read_arguments
from edgemm_runtime.service import installation
from edgemm_runtime.service.credentials import pass_on
from edgemm_runtime.service.installation import Places, Systemd
from edgemm_runtime.service.sandbox import require_program, require_reach
from edgemm_runtime.service.unit import NAME, Scope, ServiceSettings, unit_text

Command = TypeVar("Command", bound=Callable[..., object])
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
    command = click.option(
        "--group", metavar="GROUP", help="Members of this group may connect to the service's Unix sockets."
    )(command)
    return click.option(
        "--token",
        help="The enrolment token; kept in a file that only its owner reads. See also --token-file of `edgemm run`.",
    )(command)


@service.command(context_settings=_RUN_ARGUMENTS)
@_scope
@_arguments
def show(*, scope: Scope, arguments: tuple[str, ...], token: str | None, group: str | None) -> None:
    """Print the unit that `install` would write, with the options of `edgemm run`; change nothing."""
    _ = token  # the unit does not hold it
    given = read_arguments(arguments, scope, groups=_groups(scope, group))
    say_document(unit_text(_settings(scope, given, installation.places(scope), group)))


@service.command(context_settings=_RUN_ARGUMENTS)
@_scope
@_arguments
def install(*, scope: Scope, arguments: tuple[str, ...], token: str | None, group: str | None) -> None:
    """Write the unit, enable it and start it, with the options of `edgemm run`.

    For example: edgemm service install --fleet https://fleet.example:8443 --token emt1_…
    """
    where, groups = installation.places(scope), _groups(scope, group)
    given = read_arguments(arguments, scope, groups=groups)
    unit = unit_text(_settings(scope, given, where, group))
    if scope is Scope.SYSTEM:
        require_program(Path(sys.executable), groups=groups)
        require_reach(Path(edgemm_runtime.__file__).resolve(), groups=groups)
    if not given.has_key:
        _require_no_key_here(where)
    systemd = Systemd(scope)
    loses_key = not given.has_key and installation.asks_for_key(where)
    installation.install(systemd, where, unit=unit, token=token or given.token)
    user = " --user" if scope is Scope.USER else ""
    say(f"{where.unit}: enabled, and is being started; follow it with: journalctl{user} --unit {NAME} --follow")
    if loses_key:
        say("the service asked for an API key until now, and asks for none any more: --api-key-file FILE")
    if given.sockets and scope is Scope.SYSTEM and group is None:
        say(f"only root may connect to {given.sockets[0]}: --group GROUP lets its members")
    if user:
        say("to have it run while you are not logged in: loginctl enable-linger")


@service.command()
@_scope
def uninstall(*, scope: Scope) -> None:
    """Stop the service and remove its unit; the state folder, an API key and drop-ins of yours stay."""
    found = installation.uninstall(Systemd(scope), installation.places(scope))
    said = [*(f"removed {path}" for path in found.removed), *(f"kept {path}: it is yours" for path in found.kept)]
    say(*(said or ["nothing was installed"]))


@service.command()
@_scope
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def status(*, scope: Scope, as_json: bool) -> int:
    """Tell how the service is; ends with status 1 where it is not active."""
    where = installation.places(scope)
    found = _state(Systemd(scope).state(), where.unit)
    if as_json:
        say_json(msgspec.json.encode(found))
    elif not found.installed:
        say(f"{where.unit} is not there: edgemm service install")
    else:
        say(f"{found.active} ({found.detail}) since {found.since or '–'}, {found.enabled}")
        say(f"{found.status or 'it has said nothing of itself'}")
        say(f"pid {found.pid or '–'}, restarted {found.restarts} times, {found.unit}")
    return int(found.active != "active")


@service.command(hidden=True)
@click.argument("files", nargs=-1, required=True, metavar="NAME:PATH...")
def renew(*, files: tuple[str, ...]) -> None:
    """Hand the newest content of secret files on to the running service; systemd calls it as root to reload."""
    pid, runtime = os.environ.get("MAINPID", ""), os.environ.get("RUNTIME_DIRECTORY", "")
    if not pid.isdecimal() or not runtime:
        raise EnvironmentFailure(f"only systemd calls this: systemctl reload {NAME}")
    paths = {name: Path(path) for name, _, path in (file.partition(":") for file in files)}
    # What is wrong is told here, to whoever reloads, and the service keeps what it has.
    read_access(
        tls_cert=paths.get("tls-cert"),
        tls_key=paths.get("tls-key"),
        api_key_file=paths.get("api-key-file"),
        unix_socket=None,
    )
    pass_on(paths, runtime=Path(runtime), pid=int(pid))


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


def _settings(scope: Scope, given: RunArguments, where: Places, group: str | None) -> ServiceSettings:
    program = _program()
    if scope is Scope.SYSTEM:
        require_reach(program, groups=_groups(scope, group))
    return ServiceSettings(
        scope=scope,
        program=str(program),
        arguments=given.words,
        secrets=where.secrets,
        credentials=given.credentials,
        low_ports=given.low_ports,
        group=group,
    )


def _groups(scope: Scope, group: str | None) -> tuple[int, ...]:
    if group is None:
        return ()
    if scope is Scope.USER:
        raise click.UsageError("--group is of the system's service: a user's sockets are that user's")
    try:
        return (grp.getgrnam(group).gr_gid,)
    except KeyError as err:
        raise InputError(f"no group {group}: make it by `groupadd --system {group}`, or give another") from err


def _require_no_key_here(where: Places) -> None:
    """Refuse a key in the environment, which a service does not inherit: it would ask for none, without a word."""
    if os.environ.get(API_KEY, "").strip() and not installation.has_secret(where, API_KEY):
        raise InputError(
            f"{API_KEY} is set here, and a service does not inherit it: "
            "write the key into a file that only root reads and give --api-key-file FILE"
        )


def _program() -> Path:
    """Return the `edgemm` that is running, past links to it."""
    found = shutil.which("edgemm", path=str(Path(sys.executable).parent)) or shutil.which("edgemm")
    if found is None:
        raise InputError("no edgemm command beside this Python: install edgemm with pip")
    return Path(found).resolve()
