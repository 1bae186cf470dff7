"""The options of `edgemm run` as a service is to be given them: checked, absolute, and secrets taken out.

A service starts in another folder, as another user, and in a sandbox. So each path is made absolute; in the system's
scope secrets become credentials, and what the service could not reach is refused now and not in a log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edgemm.configuration.options import path_words
from edgemm.configuration.secret_file import STDIN, read_secret
from edgemm.errors import InputError
from edgemm.transport.address import check_url
from edgemm_runtime.commands.access_options import read_access
from edgemm_runtime.commands.configuration import read_configuration
from edgemm_runtime.commands.cors_option import read_origins
from edgemm_runtime.commands.listen_option import read_addresses
from edgemm_runtime.commands.managing import read_address
from edgemm_runtime.commands.mqtt_options import NAMES as MQTT_NAMES
from edgemm_runtime.commands.mqtt_options import read_mqtt
from edgemm_runtime.service.sandbox import in_state_folder, require_reach, require_writable
from edgemm_runtime.service.unit import STATE, STATE_FOLDER, Credential, Scope
from edgemm_runtime.serving.management import LoopbackAddress

_MANAGE = "--manage"
_TOKEN_FILE = "--token-file"  # noqa: S105 - the name of an option
_SOCKETS = frozenset({_MANAGE, "--unix-socket"})
_STATE_DIR = "--state-dir"
_SECRET = re.compile(r"--(tls-cert|(.*-)?(key|key-file|login-file|password-file|token-file))")
"""Options of files that only their owner reads, as a rule; the folders of certificates are closed too."""
_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_LOW_PORTS = 1024
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@dataclass(frozen=True)
class RunArguments:
    """What a unit starts `edgemm run` with."""

    words: Sequence[str]
    credentials: Mapping[str, Path]
    low_ports: bool
    has_key: bool
    """Whether an option asks for an API key."""

    token: str | None
    sockets: Sequence[Path]


def read_arguments(arguments: Sequence[str], scope: Scope, *, groups: Collection[int] = ()) -> RunArguments:
    """Return the options of `edgemm run`, checked by its own parser; `groups` are those of the service's user.

    Raises:
        click.UsageError: an option is unknown, or the options do not go together.
        InputError: a file is missing, not what it should be, or out of the service's reach.
    """
    from edgemm_runtime.commands.run import run

    given = list(_given(arguments, run))
    plain = [one for one in given if one.option not in {"--token", _TOKEN_FILE}]
    context = run.make_context("edgemm run", [word for one in plain for word in one.words])
    params = context.params
    if params["print_config"]:
        raise click.UsageError("--print-config serves nothing: ask `edgemm run`, with the same options, for what holds")
    if bool(params["bundles"]) == (params["fleet"] is not None):
        raise click.UsageError("expected --fleet URL, or the BUNDLE files to serve")
    _check_files(params)
    system, in_file = scope is Scope.SYSTEM, list(_given(path_words(context), run))
    for one in (*plain, *in_file):
        _require_reach(one, groups) if system else _require_folder(one)
    if system:  # systemd brings what is on the command line alone, which is stronger than the file
        plain += [one for one in in_file if one.is_secret]
    if params["fleet"] is not None and params["state_dir"] is None:
        plain.append(_Given(_STATE_DIR, STATE))
    words = [word for one in plain for word in (one.as_credential if system else one).words]
    return RunArguments(
        words=["run", *words],
        credentials={one.credential: one.path for one in plain if system and one.is_secret},
        low_ports=_low_ports(params, system=system),
        has_key=params["api_key_file"] is not None,
        token=_token(given),
        sockets=[one.path for one in plain if one.is_socket],
    )


def _token(given: Sequence[_Given]) -> str | None:
    """Return the enrolment token that was given last; it is kept with the service's secrets, also that of a file."""
    last = next((one for one in reversed(given) if one.option in {"--token", _TOKEN_FILE}), None)
    if last is None or last.option == "--token":
        return last.value if last else None
    return read_secret(STDIN if last.value == "-" else last.path, option=_TOKEN_FILE)


@dataclass(frozen=True)
class _Given:
    """An option or a bundle as it was given, its path absolute; a flag's value is None, a bundle's option is ''."""

    option: str
    value: str | None
    is_path: bool = False

    @property
    def words(self) -> list[str]:
        """As words of a command."""
        return [word for word in (self.option or None, self.value) if word is not None]

    @property
    def path(self) -> Path:
        """The value, of one that is a path."""
        return Path(self.value or "")

    @property
    def is_socket(self) -> bool:
        """Whether it is the path of a Unix socket."""
        return self.is_path and self.option in _SOCKETS

    @property
    def is_secret(self) -> bool:
        """Whether systemd is to bring the file."""
        return self.is_path and _SECRET.fullmatch(self.option) is not None

    @property
    def credential(self) -> str:
        """The name that systemd keeps the file under."""
        return self.option.removeprefix("--")

    @property
    def as_credential(self) -> _Given:
        """The same, with the credential in the place of a secret file."""
        return _Given(self.option, Credential(self.credential)) if self.is_secret else self


def _given(arguments: Sequence[str], command: click.Command) -> Iterator[_Given]:
    """Yield what was given in its order, bundles last, as the command's own parser reads it."""
    parser = command.make_parser(click.Context(command, info_name="edgemm run"))
    found, _, order = parser.parse_args(list(arguments))
    bundles: list[_Given] = []
    taken: dict[str, Iterator[Any]] = {}
    for param in order:
        value = found[param.name or ""]
        if isinstance(param, click.Argument):
            paths = value if isinstance(value, tuple | list) else ()  # without any, the parser has a word of its own
            bundles = [_Given("", _past_links(path), is_path=True) for path in paths]
        elif isinstance(param, click.Option):
            if param.multiple:
                value = next(taken.setdefault(param.name or "", iter(value)))
            yield _one(param, value)
    yield from bundles


def _one(option: click.Option, value: Any) -> _Given:
    name = max(option.opts, key=len)
    if option.is_flag:
        return _Given(name if value else max(option.secondary_opts, key=len, default=name), None)
    if name == _STATE_DIR:
        given = value if value == STATE else str(_absolute(value))
        return _Given(name, STATE if given == STATE_FOLDER else given, is_path=True)
    if name == _MANAGE and isinstance(read_address(value), LoopbackAddress):
        return _Given(name, value)
    if name in _SOCKETS:
        path = _absolute(value)
        return _Given(name, str(path.parent.resolve() / path.name), is_path=True)
    if not isinstance(option.type, click.Path):
        return _Given(name, str(value))
    # The link of a renewed certificate leads elsewhere after the renewal: it stays a link.
    given = _Given(name, str(_absolute(value)), is_path=True)
    return given if given.is_secret else _Given(name, _past_links(value), is_path=True)


def _absolute(text: str) -> Path:
    try:
        return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - `Path.resolve` follows links
    except RuntimeError as err:
        raise InputError(f"{text}: {err}: give the whole path") from err


def _past_links(text: str) -> str:
    try:
        return str(_absolute(text).resolve())
    except (OSError, RuntimeError) as err:  # a ring of links, which Python 3.13 takes as it is
        raise InputError(f"{text}: its links lead nowhere: give the path of a file") from err


def _check_files(params: Mapping[str, Any]) -> None:
    """Read the files that `edgemm run` is to read, so that a mistake is told now and not in a log."""
    if params["config"] is not None:
        read_configuration(params["config"])
    if params["fleet"] is not None:
        check_url(params["fleet"])
    read_addresses(params["listen"])
    read_origins(params["cors"])
    read_mqtt(**{name: params[name] for name in MQTT_NAMES})
    read_access(**{name: params[name] for name in ("tls_cert", "tls_key", "api_key_file", "unix_socket")})
    if missing := next((path for path in (*params["bundles"], *params["shadows"]) if not path.is_file()), None):
        raise InputError(f"no bundle {missing}: give the path of a file")


def _require_reach(one: _Given, groups: Collection[int]) -> None:
    """Refuse what the system's service could not use."""
    if not one.is_path or one.value == STATE or one.is_secret:
        return  # systemd itself reads secrets, wherever they lie
    if one.option == _STATE_DIR:
        if not in_state_folder(one.path):
            raise InputError(
                f"{_STATE_DIR} {one.path}: the system's service keeps its state in {STATE_FOLDER}: leave it out, and "
                "for another disk mount that there"
            )
    elif one.is_socket:
        require_writable(one.path, option=one.option)
    else:
        require_reach(one.path, groups=groups)


def _require_folder(one: _Given) -> None:
    """Refuse a socket where this user may make none."""
    if one.is_socket and not os.access(one.path.parent, os.W_OK):
        raise InputError(f"{one.option} {one.path}: this user may not write there: give another path")


def _low_ports(params: Mapping[str, Any], *, system: bool) -> bool:
    first = _LOW_PORTS if system else _first_free_port()
    low = next((port for port in _ports(params) if 0 < port < first), None)
    if low is not None and not system:
        raise InputError(
            f"port {low} needs a right that a user's service cannot get: leave --user out, or give one from {first} on"
        )
    return low is not None


def _ports(params: Mapping[str, Any]) -> Iterator[int]:
    """Yield each port that is asked for, by itself or behind an address."""
    yield params["port"]
    if (found := _PORT.fullmatch(params["manage"] or "")) is not None:
        yield int(found["port"])


def _first_free_port() -> int:
    try:
        return int(_UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        return _LOW_PORTS
