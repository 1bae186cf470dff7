"""The text of the systemd unit that runs a device, which stands in no other place. Pure.

print(unit_text(Scope.SYSTEM, ["/opt/edgemm/bin/edgemm", "run", "--fleet", "https://fleet.example:8443"]))
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

NAME = "edgemm.service"
STATE = "%S/edgemm"
"""The state folder, as systemd spells it: `/var/lib/edgemm` for the system."""
WATCHDOG_S = 60
START_S = 600
"""A device that comes up loads its models, and waits out a card that reads badly for a moment."""


class Scope(StrEnum):
    """Whose service manager runs it."""

    SYSTEM = "system"
    USER = "user"


_SANDBOX = """
DynamicUser=yes
StateDirectoryMode=0700
CapabilityBoundingSet=
AmbientCapabilities=
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


def unit_text(scope: Scope, command: Sequence[str], *, secrets: str) -> str:
    """Return the unit; `secrets` is the file with `EDGEMM_TOKEN=…`, which may be missing."""
    system = scope is Scope.SYSTEM
    network = "Wants=network-online.target\nAfter=network-online.target\n" if system else ""
    return f"""\
[Unit]
Description=edgemm device
{network}StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec={WATCHDOG_S}
TimeoutStartSec={START_S}
ExecStart={" ".join(quoted(word) for word in command)}
EnvironmentFile=-{secrets}
StateDirectory=edgemm
UMask=0077
Restart=always
RestartSec=5
TimeoutStopSec=30
KillMode=mixed
LimitCORE=0
{_SANDBOX if system else ""}
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
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    text = "%S".join(part.replace("%", "%%") for part in text.split("%S")) if word == STATE else text.replace("%", "%%")
    plain = word and all(character.isalnum() or character in "-_./:=@+,%$" for character in word)
    return text if plain else f'"{text}"'
