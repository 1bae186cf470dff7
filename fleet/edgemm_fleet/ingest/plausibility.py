"""The numbers that a device may say of itself: with room above them, or nothing newer could follow. Pure.

Reports and statuses are ordered by numbers that only rise. One that no honest device can have reached would make all
that its device says later look old for as long: such a message is refused. A number of a start is a time in seconds
(ADR 0005), and follows the clock; the others count from 1. What a lie within the bounds costs its device ends when that
is enrolled anew (`edgemm_fleet.director.readmission`). Generations have bounds of their own
(`edgemm.messages.generations`); other numbers order nothing, and are stored.
"""

from __future__ import annotations

from msgspec import UNSET

from edgemm.messages import MOST_CONNECTIONS, MOST_REPORTS, Event, Reported, Status, Telemetry, most_boots


def implausible(message: Reported | Status | Event | Telemetry, *, now: float) -> str | None:
    """Return what no device can have counted up to by now, in words; None where all of it is plausible."""
    if isinstance(message, Telemetry):
        return None
    match message:
        case Reported():
            connection = 0 if message.connection is UNSET else message.connection
            numbers = {"boot_count": message.boot_count, "sequence": message.sequence, "connection": connection}
        case Status():
            numbers = {"boot_count": message.boot_count, "connection": message.connection}
        case _:
            return None
    bounds = {"boot_count": most_boots(now), "sequence": MOST_REPORTS, "connection": MOST_CONNECTIONS}
    found = [f"{name} {number:,}, expected at most {bounds[name]:,}" for name, number in numbers.items()
             if number > bounds[name]]  # fmt: skip
    return "; ".join(found) or None
