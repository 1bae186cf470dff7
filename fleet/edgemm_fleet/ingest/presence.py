"""The presence of a device: online or offline, from `status` messages in any order.

A connection is named by (boot, connection number), and boots are ordered by their counter; both only rise. `offline` is
the last will, and counts only if it names the current connection: one that comes late, after the device is back, says
nothing. Two boots with the same counter, or an ended boot that opens new connections, mean that two devices live under
one identity: a cloned SD card.
"""

from __future__ import annotations

from msgspec.structs import replace

from edgemm.messages import Status
from edgemm_fleet.records.records import Presence


def observe(presence: Presence, status: Status, *, now: float) -> Presence:
    """Return a device's presence after one of its `status` messages; the same value if it says nothing new."""
    if status.boot == presence.boot:
        known = presence.connection
        if status.connection < known or (status.connection == known and status.online >= presence.online):
            return presence
        return replace(presence, online=status.online, connection=status.connection, last_seen_at=now)
    if presence.boot is not None and status.boot_count <= presence.boot_count:
        return _other_boot(presence, status, now=now)
    return replace(
        presence,
        online=status.online,
        boot=status.boot,
        boot_count=status.boot_count,
        connection=status.connection,
        last_seen_at=now,
        previous_boot=presence.boot,
        previous_connection=presence.connection,
    )


def _other_boot(presence: Presence, status: Status, *, now: float) -> Presence:
    clone = status.boot_count == presence.boot_count
    alive_again = status.boot == presence.previous_boot and status.connection > presence.previous_connection
    if status.online and (clone or alive_again):
        return replace(presence, duplicate_at=now)
    return presence
