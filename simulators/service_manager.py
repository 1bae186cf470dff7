"""A service manager's end of sd_notify: a datagram socket that hears what a process says of itself."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Self

from simulators.waiting import eventually


class ServiceManager:
    """Listens at a path, or at an abstract name; `heard` is every line in order."""

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        path = str(folder / "notify")
        self.address = f"@{path}" if abstract else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path}" if abstract else path)
        self._socket.settimeout(0)
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def environment(self, *, watchdog_s: float | None = None) -> dict[str, str]:
        """What a service's process finds in its environment."""
        found = {"NOTIFY_SOCKET": self.address}
        if watchdog_s is not None:
            found["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        return found

    def listen(self) -> list[str]:
        """Take what has arrived; return all lines so far."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def count(self, line: str) -> int:
        return self.listen().count(line)

    def wait_for(self, line: str, *, times: int = 1) -> None:
        eventually(lambda: self.count(line) >= times, f"it hears {line} {times} times; heard {self.heard[-20:]}")

    @property
    def status(self) -> str:
        """The last status text."""
        return next((line[7:] for line in reversed(self.listen()) if line.startswith("STATUS=")), "")
