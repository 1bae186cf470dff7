"""The numbers that a device may say of itself: with room above them, or nothing newer could follow. Pure.

Reports and statuses are ordered by numbers that only rise. The highest number that a message has room for would make
all that its device says later look old, for ever: such a message is refused. The bounds are far above what any device
reaches, and far below the end: a number of a start is a time in seconds (ADR 0005), the others count from 1.
Generations have bounds of their own (`edgemm.messages.generations`); other numbers order nothing, and are stored.
"""

from __future__ import annotations

from msgspec import UNSET

from edgemm.messages import MOST_BOOTS, MOST_CONNECTIONS, MOST_REPORTS, Event, Reported, Status, Telemetry


def implausible(message: Reported | Status | Event | Telemetry) -> str | None:
    """Return what no device can have counted up to, in words; None where all of it is plausible."""
    match message:
        case Reported():
            connection = 0 if message.connection is UNSET else message.connection
            numbers = {"boot_count": message.boot_count, "sequence": message.sequence, "connection": connection}
        case Status():
            numbers = {"boot_count": message.boot_count, "connection": message.connection}
        case _:
            return None
    bounds = {"boot_count": MOST_BOOTS, "sequence": MOST_REPORTS, "connection": MOST_CONNECTIONS}
    found = [f"{name} {number:,}, expected at most {bounds[name]:,}" for name, number in numbers.items()
             if number > bounds[name]]  # fmt: skip
    return "; ".join(found) or None
