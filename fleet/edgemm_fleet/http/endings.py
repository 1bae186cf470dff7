"""The ends of connections whose time is over. Pure: the clock is an argument."""

from __future__ import annotations

from enum import Enum

from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.peer import Peer, Phase


class Ending(Enum):
    """What is to become of a connection; the value is how that is counted."""

    IDLE = "idle"
    SLOW_HANDSHAKE = "slow_handshake"
    SLOW_HEAD = "slow_head"
    SLOW_BODY = "slow_body"
    SLOW_DOWNLOAD = "slow_download"
    UNANSWERED = "unanswered"
    LINGERED = "lingered"


def ending(peer: Peer, now_s: float, limits: HttpLimits) -> Ending | None:
    """Return how a connection ends now, None where it goes on."""
    age_s = now_s - peer.since_s
    match peer.phase:
        case Phase.LINGERING:
            return Ending.LINGERED if age_s > limits.linger_s else None
        case Phase.HANDSHAKE:
            return Ending.SLOW_HANDSHAKE if age_s > limits.handshake_s else None
        case Phase.READING if peer.intake.idle and peer.answered:
            return Ending.IDLE if age_s > limits.idle_s else None
        case Phase.READING:
            return Ending.SLOW_HEAD if age_s > limits.head_s else None
        case Phase.GATHERING:
            size = 0 if peer.body is None else peer.body.size
            return Ending.SLOW_BODY if age_s > limits.body_s + size / limits.min_bytes_per_s else None
        case Phase.STREAMING:
            # Where the thread has enough to do, the client waits for it.
            waits = peer.upload is not None and peer.upload.full
            return Ending.SLOW_BODY if not waits and _crawls(peer, now_s, limits) else None
        case Phase.WORKING:
            return Ending.UNANSWERED if age_s > limits.answer_s else None
        case Phase.SENDING:
            return Ending.SLOW_DOWNLOAD if _crawls(peer, now_s, limits) else None


def _crawls(peer: Peer, now_s: float, limits: HttpLimits) -> bool:
    """Tell whether too little has moved since the last look, which was `pace_s` ago; then look from now on."""
    if (passed_s := now_s - peer.marked_s) < limits.pace_s:
        return False
    if peer.moved - peer.marked < passed_s * limits.min_bytes_per_s:
        return True
    peer.marked_s, peer.marked = now_s, peer.moved
    return False
