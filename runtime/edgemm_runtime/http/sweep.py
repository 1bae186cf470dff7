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
            if age_s <= limits.request_s:
                return None
            return Ending.CLOSE if connection.sending else Ending.UNANSWERED
        case Phase.READING:
            if connection.receiver.idle:
                return Ending.CLOSE if age_s > limits.idle_connection_s else None
            allowed_s = limits.head_s + connection.receiver.body_bytes / limits.min_body_bytes_per_s
            return Ending.SLOW if age_s > allowed_s else None
