"""The presence of a device: online or offline, from its messages in any order. Pure.

A connection is named by (boot, connection number), and boots are ordered by their counter; both only rise. `offline` is
the last will, and counts only if it names the current connection: one that comes late, after the device is back, says
nothing. Two boots with the same counter, or an ended boot that opens new connections, mean that two devices live under
one identity: a cloned SD card.

`status` is not signed, for a last will cannot be: whoever may publish at the broker can forge one. It is believed at
once, and doubted until a signed `reported` bears it out; a report that is newer than all before and says otherwise is
stronger, whatever numbers the status bore. Where no report comes by itself, the device is asked for one
(`edgemm_fleet.ingest.doubts`); a device that is there answers, and one that does not answer is offline.
"""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from edgemm.messages import Event, Reported, Status, most_boots
from edgemm_fleet.records.records import Presence


def observe(presence: Presence, status: Status, *, now: float) -> Presence:
    """Return a device's presence after one of its `status` messages; the same value if it says nothing new."""
    if status.boot == presence.boot:
        known = presence.connection
        if status.connection < known or (status.connection == known and status.online >= presence.online):
            return presence
        changed = replace(presence, online=status.online, connection=status.connection, last_seen_at=now)
        return doubted(changed, now=now) if status.connection > known else changed
    if presence.boot is not None and status.boot_count <= presence.boot_count:
        return _other_boot(presence, status, now=now)
    changed = _at(presence, status.boot, status.boot_count, status.connection)
    return doubted(replace(changed, online=status.online, last_seen_at=now), now=now)


def attest(presence: Presence, report: Reported, *, live: bool, now: float) -> Presence:
    """Return a device's presence after a report of it that is newer than all before.

    `live`: it came as it was published. One that the broker had retained was signed too, and does not say that the
    device is still there: it moves the presence to its connection, and is not enough to end a doubt or a will.

    A report of an earlier version does not tell its connection: whatever status comes next is then newer.
    """
    same = report.boot == presence.boot
    if same and report.boot_count != presence.boot_count:  # whatever a status claimed of it
        presence = replace(presence, boot_count=report.boot_count)
    number = presence.connection if same and presence.online else 0
    number = number if report.connection is UNSET else report.connection
    if same and number == presence.connection and presence.online:
        return _sure(presence)
    if same and not presence.online and not live:
        return doubted(presence, now=now)
    changed = presence if same else _at(presence, report.boot, report.boot_count, number)
    changed = replace(changed, online=True, connection=number, last_seen_at=now)
    return _sure(changed) if live else doubted(changed, now=now)


def begins(presence: Presence, event: Event, *, now: float) -> Presence | None:
    """Return a device's presence after a signed event that came just now, of a start that was not heard of before.

    A broker that has no room drops a status and a report, which are sent once, and an event is sent until it is
    acknowledged. None: the event says nothing of that kind. It must be one that never came before. An event of a start
    that no device can have counted up to is stored, and no will or status could follow it: it begins nothing.
    """
    if event.boot_count > most_boots(now):
        return None
    if presence.boot is not None and (event.boot == presence.boot or event.boot_count <= presence.boot_count):
        return None
    return _sure(replace(_at(presence, event.boot, event.boot_count, 0), online=True, last_seen_at=now))


def spoke(presence: Presence, *, live: bool, now: float) -> Presence:
    """Return a presence after a message that proves nothing: one of a device that is said to be gone is a doubt."""
    return doubted(presence, now=now) if live and not presence.online and presence.boot is not None else presence


def awaited(presence: Presence) -> bool:
    """Tell whether a device was let in anew and not heard since: what a broker retains of it may be of before."""
    return presence.boot is None and presence.doubted_at is not None


def doubted(presence: Presence, *, now: float) -> Presence:
    """Return a presence that waits for a report to bear it out; how long it has waited already stays."""
    return presence if presence.doubted_at is not None else replace(presence, doubted_at=now)


def unanswered(presence: Presence) -> Presence:
    """Return the presence of a device that was asked, and did not answer."""
    return replace(presence, online=False, doubted_at=None)


def _at(presence: Presence, boot: str, boot_count: int, connection: int) -> Presence:
    return replace(
        presence,
        boot=boot,
        boot_count=boot_count,
        connection=connection,
        previous_boot=presence.boot,
        previous_connection=presence.connection,
    )


def _sure(presence: Presence) -> Presence:
    """End a doubt; a second device that was seen because of what was doubted is none."""
    if presence.doubted_at is None:
        return presence
    seen_in_doubt = presence.duplicate_at is not None and presence.duplicate_at >= presence.doubted_at
    return replace(presence, doubted_at=None, duplicate_at=None if seen_in_doubt else presence.duplicate_at)


def _other_boot(presence: Presence, status: Status, *, now: float) -> Presence:
    clone = status.boot_count == presence.boot_count
    alive_again = status.boot == presence.previous_boot and status.connection > presence.previous_connection
    if status.online and (clone or alive_again):
        return replace(presence, duplicate_at=now)
    return presence
