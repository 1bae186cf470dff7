"""The text of the systemd unit that runs a device, which stands in no other place. Pure.

print(unit_text(ServiceSettings(Scope.SYSTEM, "/opt/edgemm/bin/edgemm", ["run", "/opt/edgemm/tiny.edgemm"], ...)))
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edgemm.errors import InputError

NAME = "edgemm.service"
STATE = "%S/edgemm"
"""The state folder, as systemd spells it: `/var/lib/edgemm` for the system."""
STATE_FOLDER = "/var/lib/edgemm"
PRIVATE_STATE_FOLDER = "/var/lib/private/edgemm"
"""Where the former leads to, with a user that systemd makes."""
RUNTIME_FOLDER = "/run/edgemm"
"""Where the system's service may put its sockets."""
WATCHDOG_S = 60
START_S = 600
"""A device that comes up loads its models, and waits out a card that reads badly for a moment."""
_CREDENTIAL = "%d/"
"""The folder of the credentials, as systemd spells it."""
_CERTIFICATE = re.compile(r"""--tls-cert[ =](?P<path>"(?:[^"\\]|\\.)*"|\S+)""")


class Scope(StrEnum):
    """Whose service manager runs it."""

    SYSTEM = "system"
    USER = "user"


class Credential(str):
    """A word of the command that names a credential, by the name that systemd keeps it under."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What a unit is made of."""

    scope: Scope
    program: str
    arguments: Sequence[str]
    """What the program is started with; a `Credential` becomes the path that systemd copies it to."""

    secrets: Path
    """The file with `EDGEMM_TOKEN=…`, which may be missing."""

    credentials: Mapping[str, Path] = field(default_factory=dict)
    """Which files systemd copies, by the names in `arguments`; for the system's scope."""

    low_ports: bool = False
    """Whether it listens on a port below 1024."""

    group: str | None = None
    """Whose members may connect to its Unix sockets."""


_SANDBOX = """\
DynamicUser=yes
StateDirectoryMode=0700
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
"""
"""Needs the rights of the system's own service manager."""


def unit_text(settings: ServiceSettings) -> str:
    """Return the unit.

    Raises:
        InputError: a path or word has a character that no unit can hold.
    """
    system = settings.scope is Scope.SYSTEM
    edit = "systemctl edit edgemm" if system else "systemctl --user edit edgemm"
    network = "Wants=network-online.target\nAfter=network-online.target\n" if system else ""
    capabilities = "CAP_NET_BIND_SERVICE" if settings.low_ports else ""
    group = f"Group={settings.group}\n" if settings.group else ""
    sandbox = f"\n{group}{_SANDBOX.format(capabilities=capabilities)}" if system else ""
    brought = "".join(
        f"LoadCredential={name}:{_at_the_end(path)}\n" for name, path in sorted(settings.credentials.items())
    )
    start = " ".join((_program(settings.program), *(quoted(word) for word in settings.arguments)))
    return f"""\
# Written by `edgemm service install`, each time anew: changes of your own go into `{edit}`.
[Unit]
Description=edgemm device
{network}StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec={WATCHDOG_S}
TimeoutStartSec={START_S}
ExecStart={start}
ExecReload={_reload(settings)}
EnvironmentFile=-{_at_the_end(settings.secrets)}
{brought}StateDirectory=edgemm
RuntimeDirectory=edgemm
RuntimeDirectoryMode=0750
UMask=0077
Restart=always
RestartSec=5
TimeoutStopSec=30
KillMode=mixed
LimitCORE=0
{sandbox}
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy={"multi-user" if system else "default"}.target
"""


def quoted(word: str) -> str:
    """Spell a word of a command for `ExecStart=` (systemd.service(5)); the state folder stays a specifier."""
    if isinstance(word, Credential):
        return _CREDENTIAL + word
    return STATE if word == STATE else _quoted(word.replace("$", "$$"))


def _program(path: str) -> str:
    """Spell the program, in which systemd expands specifiers and no variables."""
    return _quoted(path)


def _quoted(word: str) -> str:
    text = _specified(word.replace("\\", "\\\\").replace('"', '\\"'))
    plain = word and all(character.isalnum() or character in "-_./:=@+,%$" for character in word)
    return text if plain else f'"{text}"'


def _at_the_end(path: Path) -> str:
    """Spell a path that a line ends with, where nothing can be quoted."""
    text = _specified(str(path))
    if text.endswith((" ", "\\")):
        raise InputError(f"{text!r}: a unit of systemd cannot name a file that ends so: give it another name")
    return text


def _specified(text: str) -> str:
    if not text.isprintable():
        raise InputError(f"{text!r}: a unit of systemd holds no such characters: give it another name")
    return text.replace("%", "%%")


def _reload(settings: ServiceSettings) -> str:
    """Return what reloads: SIGHUP; with credentials, root hands the newest on first (`edgemm service renew`)."""
    if not settings.credentials:
        return "kill -HUP $MAINPID"
    files = (f"{name}:{path}" for name, path in sorted(settings.credentials.items()))
    return " ".join((f"+{_program(settings.program)}", "service", "renew", *(quoted(word) for word in files)))


def certificate_of(unit: str) -> Path | None:
    """Return the TLS certificate that a unit serves with, also one that an earlier version wrote."""
    for line in unit.splitlines():
        key, _, value = line.partition("=")
        if key == "LoadCredential" and value.startswith("tls-cert:"):
            return Path(value.removeprefix("tls-cert:").replace("%%", "%"))
        if key == "ExecStart" and (found := _CERTIFICATE.search(value)) and not found["path"].startswith(_CREDENTIAL):
            words = shlex.split(found["path"].replace("%%", "%").replace("$$", "$"))
            return Path(words[0]) if words else None
    return None
