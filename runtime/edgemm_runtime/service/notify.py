"""Notifications to the service manager: sd_notify(3) over the socket that `NOTIFY_SOCKET` names.

    notifier = Notifier.from_environment(os.environ)
    notifier.tell(Word.READY, Word.WATCHDOG, status="serving tiny 1.0.0")

Without such a socket nothing is said. A service manager that does not listen never stops the serving.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgemm.outlet import escaping

_log = logging.getLogger(__name__)
_MAX_STATUS = 200


class Word(StrEnum):
    """What can be said, as sd_notify(3) spells it."""

    READY = "READY=1"
    STOPPING = "STOPPING=1"
    WATCHDOG = "WATCHDOG=1"


@dataclass(frozen=True)
class Notifier:
    """The service manager's socket, and how often it wants to hear `Word.WATCHDOG`."""

    address: str | None = None
    """A path, or `@NAME` for an abstract socket; None where nobody listens."""

    watchdog_s: float | None = None
    """It restarts this process after so much silence; None where it does not."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, pid: int | None = None) -> Notifier:
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` (sd_watchdog_enabled(3))."""
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in {"/", "@"}:
            return cls()
        usec, meant = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        mine = meant in {"", str(os.getpid() if pid is None else pid)}
        return cls(address, int(usec) / 1e6 if usec.isdecimal() and int(usec) and mine else None)

    def tell(self, *words: Word, status: str | None = None) -> bool:
        """Send one datagram; tells whether the service manager took it."""
        if self.address is None:
            return False
        lines = [word.value for word in words]
        if status is not None:
            lines.append(f"STATUS={escaping.one_line(' '.join(status.split()))[:_MAX_STATUS]}")
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                # Its queue may be full; what serves must not wait for that.
                channel.settimeout(0)
                channel.sendto("\n".join(lines).encode(), name)
        except OSError as err:
            _log.warning("service manager not told words=%s error=%s", ",".join(lines), err)
            return False
        return True
