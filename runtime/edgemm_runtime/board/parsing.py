"""Parsers for the kernel's files about the machine. Pure: the text is an argument; None or nonsense gives None."""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise

UNDERVOLTAGE_BIT = 1
_SINCE_BOOT = 16
_MAX_BITS = 0xFFFFFFFF


class Throttle(IntEnum):
    """The Pi firmware's reasons to slow down, by bit of `get_throttled`; 16 bits higher: it happened since boot.

    Documented at raspberrypi.com under `vcgencmd get_throttled`.
    """

    UNDERVOLTAGE = 0
    FREQUENCY_CAPPED = 1
    THROTTLED = 2
    SOFT_TEMPERATURE_LIMIT = 3

    @property
    def words(self) -> str:
        """What people call it."""
        return self.name.lower().replace("_", " ")


def throttled_bits(text: str | None) -> int | None:
    """Return the bits of `get_throttled`, which the kernel writes in hex without a prefix."""
    try:
        bits = int(text or "", 16)
    except ValueError:
        return None
    return bits if 0 <= bits <= _MAX_BITS else None


def throttled_now(bits: int) -> tuple[Throttle, ...]:
    """Return what is wrong now."""
    return tuple(reason for reason in Throttle if bits >> reason & 1)


def throttled_since_boot(bits: int) -> tuple[Throttle, ...]:
    """Return what was wrong at some time since the machine started."""
    return tuple(reason for reason in Throttle if bits >> reason + _SINCE_BOOT & 1)


def with_alarm(bits: int | None, alarm: str | None) -> int | None:
    """Add what `rpi_volt` says, the driver that watches the supply: `in0_lcrit_alarm` is 1 below 4.63 V."""
    if alarm not in {"0", "1"}:
        return bits
    return (bits or 0) | (UNDERVOLTAGE_BIT if alarm == "1" else 0)


def life_used_percent(text: str | None) -> int | None:
    """Return how much of an eMMC's life is used, at most: `life_time` is two steps of 10 % (JEDEC JESD84-B51, 7.4).

    The worse of the two kinds of memory counts; 110 is beyond its life, and 0 or more than 0x0b says nothing.
    """
    try:
        steps = [int(word, 16) for word in (text or "").split()]
    except ValueError:
        return None
    known = [step for step in steps if 1 <= step <= 11]
    return 10 * max(known) if known else None


def temperature_c(text: str | None) -> float | None:
    """Return degrees out of thousandths; what no chip survives is a sensor's way to say that it has none."""
    try:
        degrees = int(text or "") / 1000
    except ValueError:
        return None
    return degrees if -100 < degrees < 200 else None


def memory_bytes(meminfo: str | None, field: str) -> int | None:
    """Return a field of `/proc/meminfo`, such as `MemAvailable`."""
    words = (meminfo or "").replace(":", " ").split()
    found = next((after for before, after in pairwise(words) if before == field), "")
    return int(found) * 1024 if found.isdecimal() else None


def cpu_model(cpuinfo: str | None) -> str | None:
    """Return what the processor is called in `/proc/cpuinfo`: x86 tells a name, ARM its part's number."""
    fields: dict[str, str] = {}
    for line in (cpuinfo or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields.get("model name") or _ARM_PARTS.get(fields.get("CPU part", "").lower())


_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55", "0xd0a": "Cortex-A75", "0xc07": "Cortex-A7", "0xd09": "Cortex-A73", "0xd41": "Cortex-A78",
}  # fmt: skip
"""Arm's part numbers (MIDR_EL1) of the processors on small boards."""
