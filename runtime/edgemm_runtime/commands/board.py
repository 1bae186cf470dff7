"""Facts about the board that files under `/proc` and `/sys` tell, each None where it cannot be read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_THROTTLED_NOW = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


class Board(Struct, frozen=True):
    """The machine under edgemm; `throttled` lists what the Pi's firmware says is wrong now."""

    model: str | None
    cpus: int | None
    memory_bytes: int | None
    disk_free_bytes: int | None
    temperature_c: float | None
    throttled: tuple[str, ...] | None

    def lines(self) -> Iterator[str]:
        """Yield what is known, for people."""
        if self.model:
            yield self.model
        memory = f"{self.memory_bytes / 1e9:.1f} GB" if self.memory_bytes else "?"
        disk = f"{self.disk_free_bytes / 1e9:.1f} GB" if self.disk_free_bytes is not None else "?"
        yield f"{self.cpus or '?'} CPUs, memory {memory}, free disk here {disk}"
        if self.temperature_c is not None:
            yield f"{self.temperature_c:.0f} °C"
        if self.throttled:
            yield f"the firmware reports: {', '.join(self.throttled)}: check power supply and cooling"


def read_board(root: Path = Path("/")) -> Board:
    """Read the facts; `root` is where `/proc` and `/sys` lie."""
    model = _text(root / "proc/device-tree/model")
    temperature = _text(root / "sys/class/thermal/thermal_zone0/temp")
    flags = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    return Board(
        model=model,
        cpus=os.cpu_count(),
        memory_bytes=_memory_bytes(_text(root / "proc/meminfo")),
        disk_free_bytes=shutil.disk_usage(Path.cwd()).free,
        temperature_c=int(temperature) / 1000 if temperature and temperature.lstrip("-").isdigit() else None,
        throttled=_throttled(flags),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def _memory_bytes(meminfo: str | None) -> int | None:
    for line in (meminfo or "").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"]:
            return int(words[1]) * 1024
    return None


def _throttled(flags: str | None) -> tuple[str, ...] | None:
    try:
        bits = int(flags or "", 16)
    except ValueError:
        return None
    return tuple(name for bit, name in _THROTTLED_NOW.items() if bits >> bit & 1)
