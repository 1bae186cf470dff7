"""The conditions of the board during a measurement.

A hot or underpowered Pi slows down, which shows in its figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from edgemm_runtime.board.parsing import throttled_now, throttled_since_boot
from edgemm_runtime.board.sysfs import ROOT, Sysfs


class Conditions(Struct, frozen=True):
    """One look at the board; None where it does not tell."""

    temperature_c: float | None
    frequency_mhz: int | None
    throttled: tuple[str, ...] | None
    throttled_since_boot: tuple[str, ...] | None


def read_conditions(root: Path = ROOT) -> Conditions:
    """Look at the board; `root` is where `/proc` and `/sys` lie."""
    files = Sysfs(root)
    bits, frequency = files.throttled_bits(), files.frequency_mhz()
    return Conditions(
        temperature_c=files.temperature_c(),
        frequency_mhz=frequency[0] if frequency else None,
        throttled=None if bits is None else tuple(reason.words for reason in throttled_now(bits)),
        throttled_since_boot=None if bits is None else tuple(reason.words for reason in throttled_since_boot(bits)),
    )


def told(before: Conditions, after: Conditions) -> Iterator[str]:
    """Yield what people should know of the board that was measured. Pure."""
    if before.temperature_c is not None and after.temperature_c is not None:
        yield f"temperature: {before.temperature_c:.0f} °C before, {after.temperature_c:.0f} °C after"
    if before.frequency_mhz is not None and after.frequency_mhz is not None:
        yield f"frequency: {before.frequency_mhz:,} MHz before, {after.frequency_mhz:,} MHz after"
    now = set(before.throttled or ()) | set(after.throttled or ())
    meanwhile = set(after.throttled_since_boot or ()) - set(before.throttled_since_boot or ())
    if slowed := sorted(now | meanwhile):
        yield f"the firmware reports: {', '.join(slowed)}: it can be faster than that; check power supply and cooling"
