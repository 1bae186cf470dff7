"""The time limits of connections: tells how one ends whose time is over. Pure: the clock is an argument."""

from __future__ import annotations

from enum import Enum

from edgemm_runtime.http.client import Connection, Phase
from edgemm_runtime.http.limits import ServingLimits


class Ending(Enum):
    """What is to become of a connection."""

    CLOSE = "close"
    SLOW = "slow"
    UNANSWERED = "unanswered"


def ending(connection: Connection, now_s: float, limits: ServingLimits) -> Ending | None:
    """Return how a connection ends now, None where it goes on."""
    age_s = now_s - connection.since_s
    match connection.phase:
        case Phase.LINGERING:
            return Ending.CLOSE if age_s > limits.linger_s else None
        case Phase.HANDSHAKE:
            return Ending.CLOSE if age_s > limits.head_s else None
        case Phase.ANSWERING:
            if connection.sending:
                allowed_s = limits.request_s + connection.sent_bytes / limits.min_body_bytes_per_s
                still, slow = age_s > limits.request_s, now_s - connection.sending_s > allowed_s
                return Ending.CLOSE if still or slow else None
            return Ending.UNANSWERED if age_s > limits.request_s else None
        case Phase.READING:
            if connection.receiver.idle:
                return Ending.CLOSE if age_s > limits.idle_connection_s else None
            allowed_s = limits.head_s + connection.receiver.body_bytes / limits.min_body_bytes_per_s
            return Ending.SLOW if age_s > allowed_s else None


SPARED_S = 0.5
"""A connection that was made, or answered, so lately may just be about to be used."""
_HURRIED_S = 1.0
"""How long a head or a handshake may take, and a body or an answer stand still, where others wait for connections."""


def expendable(connection: Connection, now_s: float, limits: ServingLimits) -> tuple[int, float] | None:
    """Return when a connection's turn is where some have to be closed to make room, the least first; None for never.

    First those that are closed by us anyway, then idle ones, then those that take their time to ask, or to send or take
    the rest: within each, what has waited longest.
    """
    age_s = now_s - connection.since_s
    slow = age_s >= _HURRIED_S
    found: int | None
    match connection.phase:
        case Phase.LINGERING:
            found = 0
        case Phase.READING if connection.receiver.idle:
            found = 1 if age_s >= SPARED_S else None
        case Phase.HANDSHAKE:
            found = 2 if slow else None
        case Phase.READING:
            found = 2 if slow and connection.receiver.body_bytes < age_s * limits.min_body_bytes_per_s else None
        case Phase.ANSWERING if connection.sending:
            found = 3 if slow else None
        case _:
            found = None
    return None if found is None else (found, connection.since_s)
