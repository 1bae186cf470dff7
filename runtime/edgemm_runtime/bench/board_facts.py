"""The board's facts for `edgemm doctor`; each is None where the kernel does not tell it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from edgemm_runtime.board.parsing import throttled_now, throttled_since_boot
from edgemm_runtime.board.sysfs import ROOT, Sysfs


class Board(Struct, frozen=True):
    """The machine under edgemm; `throttled` lists what the Pi's firmware says is wrong now."""

    model: str | None
    cpu: str | None
    cpus: int | None
    frequency_mhz: tuple[int, int] | None
    """Now, and at most."""
    governor: str | None
    memory_bytes: int | None
    disk_free_bytes: int | None
    disk_read_only: bool | None
    storage_life_used_percent: int | None
    temperature_c: float | None
    throttled: tuple[str, ...] | None
    throttled_since_boot: tuple[str, ...] | None

    def lines(self) -> Iterator[str]:
        """Yield what is known, for people."""
        if self.model:
            yield self.model
        memory = f"{self.memory_bytes / 1e9:.1f} GB" if self.memory_bytes else "?"
        disk = f"{self.disk_free_bytes / 1e9:.1f} GB" if self.disk_free_bytes is not None else "?"
        yield f"{self.cpus or '?'} CPUs{f' ({self.cpu})' if self.cpu else ''}, memory {memory}, free disk here {disk}"
        if self.frequency_mhz:
            now, most = self.frequency_mhz
            yield f"{now:,} of {most:,} MHz" + (f", governor {self.governor}" if self.governor else "")
        if self.disk_read_only:
            yield "the file system here is read-only: give edgemm run a --state-dir that is not"
        if self.storage_life_used_percent is not None:
            yield f"at most {self.storage_life_used_percent} % of the eMMC's life is used"
        if self.temperature_c is not None:
            yield f"{self.temperature_c:.0f} °C"
        if self.throttled:
            yield f"the firmware reports: {', '.join(self.throttled)}: check power supply and cooling"
        elif self.throttled_since_boot:
            yield f"since it was started there was: {', '.join(self.throttled_since_boot)}"


def _here() -> Path:
    """Return the folder that the command runs in; `/` where that was removed meanwhile."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def read_board(root: Path = ROOT) -> Board:
    """Read the facts; `root` is where `/proc` and `/sys` lie."""
    files, here = Sysfs(root), _here()
    bits = files.throttled_bits()
    return Board(
        model=files.text("proc/device-tree/model"),
        cpu=files.cpu_model(),
        cpus=os.cpu_count(),
        frequency_mhz=files.frequency_mhz(),
        governor=files.governor(),
        memory_bytes=files.memory_bytes("MemTotal"),
        disk_free_bytes=shutil.disk_usage(here).free,
        disk_read_only=files.read_only(here),
        storage_life_used_percent=files.storage_life_used_percent(),
        temperature_c=files.temperature_c(),
        throttled=None if bits is None else tuple(reason.words for reason in throttled_now(bits)),
        throttled_since_boot=None if bits is None else tuple(reason.words for reason in throttled_since_boot(bits)),
    )
