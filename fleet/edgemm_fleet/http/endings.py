"""The ends of connections whose time is over. Pure: the clock is an argument."""

from __future__ import annotations

from enum import Enum

from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.peer import Peer, PeerPhase


class PeerEnding(Enum):
    """What is to become of a connection; the value is how that is counted."""

    IDLE = "idle"
    SLOW_HANDSHAKE = "slow_handshake"
    SLOW_HEAD = "slow_head"
    SLOW_BODY = "slow_body"
    SLOW_DOWNLOAD = "slow_download"
    UNANSWERED = "unanswered"
    LINGERED = "lingered"


def ending(peer: Peer, now_s: float, limits: HttpLimits) -> PeerEnding | None:
    """Return how a connection ends now, None where it goes on."""
    age_s = now_s - peer.since_s
    match peer.phase:
        case PeerPhase.LINGERING:
            over, found = age_s > limits.linger_s, PeerEnding.LINGERED
        case PeerPhase.HANDSHAKE:
            over, found = age_s > limits.handshake_s, PeerEnding.SLOW_HANDSHAKE
        case PeerPhase.READING if peer.intake.idle and peer.answered:
            over, found = age_s > limits.idle_s, PeerEnding.IDLE
        case PeerPhase.READING:
            over, found = age_s > limits.head_s, PeerEnding.SLOW_HEAD
        case PeerPhase.GATHERING:
            size = 0 if peer.body is None else peer.body.size
            over, found = age_s > limits.body_s + size / limits.min_bytes_per_s, PeerEnding.SLOW_BODY
        case PeerPhase.STREAMING:
            # Where the thread has enough to do, the client waits for it.
            waits = peer.upload is not None and peer.upload.full
            over, found = not waits and _crawls(peer, now_s, limits), PeerEnding.SLOW_BODY
        case PeerPhase.WORKING:
            over, found = age_s > limits.answer_s, PeerEnding.UNANSWERED
        case PeerPhase.SENDING:
            over, found = _crawls(peer, now_s, limits), PeerEnding.SLOW_DOWNLOAD
    return found if over else None


def _crawls(peer: Peer, now_s: float, limits: HttpLimits) -> bool:
    """Tell whether too little was exchanged since the last look, which was `pace_s` ago; then look from now on."""
    if (passed_s := now_s - peer.marked_s) < limits.pace_s:
        return False
    exchanged = peer.exchanged
    if exchanged - peer.marked < passed_s * limits.min_bytes_per_s:
        return True
    peer.marked_s, peer.marked = now_s, exchanged
    return False
