"""The gauges of this machine: temperature, throttling, load, memory, disk. One that cannot be read is None."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgemm.messages import SystemGauges
from edgemm_runtime.board.sysfs import Sysfs

_NO_LIMIT_BYTES = 2**53 - 1


def gauges(folder: Path, *, files: Sysfs | None = None) -> SystemGauges:
    """Read the gauges; disk is that of `folder`."""
    files = files or Sysfs()
    return SystemGauges(
        temperature_c=files.temperature_c(),
        load_1m=round(os.getloadavg()[0], 2),
        memory_available_bytes=files.memory_bytes("MemAvailable"),
        disk_free_bytes=disk_free_bytes(folder),
        rss_bytes=_rss_bytes(files),
        throttled_bits=files.throttled_bits(),
        storage_life_used_percent=files.storage_life_used_percent(),
    )


def disk_free_bytes(folder: Path) -> int:
    """Return what this user may still write below `folder`."""
    return shutil.disk_usage(folder).free


def growth_bytes(database: Path, *, cap_bytes: int) -> int:
    """Return what a database of SQLite may still grow by until it and its log have `cap_bytes`."""
    files = (database, database.with_name(f"{database.name}-wal"))
    return max(0, cap_bytes - sum(file.stat().st_size for file in files if file.exists()))


def memory_available_bytes() -> int:
    """Return the memory that can be had without swapping; where the kernel does not say, there is no limit."""
    found = Sysfs().memory_bytes("MemAvailable")
    return _NO_LIMIT_BYTES if found is None else found


def _rss_bytes(files: Sysfs) -> int | None:
    words = (files.text("proc/self/statm") or "").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else None
