"""The manager that is measured: its address, a token, a blob, and its process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    tls: bool
    token: str
    blob: str
    process: int

    def request(self, path: str, *, token: str | None = None) -> bytes:
        """Return the bytes of a GET."""
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        return f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{shown}\r\n".encode()

    def resident_mib(self) -> float:
        """Return the memory of its process, and of its children."""
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
        return sum(_resident_kib(pid) for pid in (str(self.process), *children)) / 1024


def _resident_kib(pid: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
