"""How the box is: temperature, load, memory, disk. What cannot be read is None."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from edgemm.messages import SystemGauges


def gauges(folder: Path) -> SystemGauges:
    """Read the gauges; disk is that of `folder`."""
    return SystemGauges(
        temperature_c=_temperature_c(),
        load_1m=round(psutil.getloadavg()[0], 2),
        memory_available_bytes=memory_available_bytes(),
        disk_free_bytes=disk_free_bytes(folder),
        rss_bytes=psutil.Process().memory_info().rss,
    )


def disk_free_bytes(folder: Path) -> int:
    """Return what this user may still write below `folder`."""
    return shutil.disk_usage(folder).free


def memory_available_bytes() -> int:
    """Return the memory that can be had without swapping."""
    return int(psutil.virtual_memory().available)


def _temperature_c() -> float | None:
    readings = [entry.current for entries in psutil.sensors_temperatures().values() for entry in entries]
    return round(max(readings), 1) if readings else None
