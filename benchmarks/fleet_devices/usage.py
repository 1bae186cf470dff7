"""CPU and memory of processes, as Linux counts them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU seconds since they began, and resident bytes, by name."""

    cpu_s: dict[str, float]
    rss_bytes: dict[str, int]

    @classmethod
    def of(cls, pids: Mapping[str, int]) -> Usage:
        """Look at processes with their children."""
        found = {name: [pid, *_children(pid)] for name, pid in pids.items()}
        return cls(
            {name: sum(map(_cpu_s, all_)) for name, all_ in found.items()},
            {name: sum(map(_rss_bytes, all_)) for name, all_ in found.items()},
        )

    def since(self, before: Usage) -> dict[str, float]:
        """Return the CPU seconds from then to now."""
        return {name: round(self.cpu_s[name] - before.cpu_s[name], 3) for name in self.cpu_s}


def _children(pid: int) -> list[int]:
    found = list[int]()
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            found += [child, *_children(child)]
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
