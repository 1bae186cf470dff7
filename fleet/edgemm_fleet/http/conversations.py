"""The conversations with clients: heads and bodies in, work to the lanes, answers and files out.

All of it happens in the event loop's thread but the application's own work. A client that says nothing, or little,
holds a socket and some memory until its time is over, and no thread.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable
from functools import partial

from edgemm.transport.request_head import Head, Refusal
from edgemm_fleet.http.answers import ServedAnswer, refusal
from edgemm_fleet.http.backend import Backend
from edgemm_fleet.http.endings import PeerEnding, ending
from edgemm_fleet.http.handover import RETRY_AFTER_S, Answered, Handover
from edgemm_fleet.http.means import Means
from edgemm_fleet.http.peer import Peer, PeerPhase
from edgemm_fleet.http.reactor import GONE, READABLE
from edgemm_fleet.http.sender import Sender, Told

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_QUIET = {PeerEnding.IDLE, PeerEnding.LINGERED}
_AT_A_REQUEST = {PeerPhase.READING, PeerPhase.GATHERING, PeerPhase.STREAMING}
_PARTING_S = 0.2
"""For how long a server that stops takes a request on a connection that has none under way."""


class Conversations:
    """All connections, each with what it is at."""

    def __init__(self, means: Means, backend: Backend) -> None:
        self._reactor, self._limits, self._counts = means.reactor, means.limits, means.counts
        self._sender = Sender(means)
        self._sender.told = Told(self._done, self.close)
        self._handover = Handover(means, backend)
        self._handover.told = Answered(self._answer, self._resume)
        self.peers: dict[int, Peer] = {}
        self.on_close: Callable[[Peer], None] = lambda _: None
        self._draining = False
        self._parting_s = math.inf

    @property
    def parted(self) -> bool:
        """Whether a server that stops has nobody left to answer."""
        return self._draining and not self.peers

    def begin(self, peer: Peer) -> None:
        """Hear a new client.

        Raises:
            OSError: its socket cannot be waited for.
        """
        self._reactor.register(peer.descriptor, partial(self._ready, peer))
        self.peers[peer.descriptor] = peer

    def close(self, peer: Peer) -> None:
        """Close a connection, whatever it is at."""
        if self.peers.pop(peer.descriptor, None) is not peer:
            return
        self._reactor.forget(peer.descriptor)
        self._sender.release(peer)
        if peer.body is not None:
            peer.body.drop()
        peer.close()
        self.on_close(peer)

    def drain(self) -> None:
        """Let each answer from now on be the last on its connection."""
        self._draining, self._parting_s = True, time.monotonic() + _PARTING_S

    def part(self) -> None:
        """Close connections that have nothing under way, `_PARTING_S` after the drain began.

        To close one at once would take its next request from a client that asks without pause: it may be on its way.
        """
        if time.monotonic() < self._parting_s:
            return
        for peer in list(self.peers.values()):
            idle = peer.phase is PeerPhase.READING and peer.intake.idle and peer.quiet
            if idle or peer.phase is PeerPhase.LINGERING:
                self.close(peer)

    def sweep(self, now_s: float) -> None:
        """End what takes too long."""
        for peer in list(self.peers.values()):
            found = ending(peer, now_s, self._limits)
            if found is None:
                continue
            if found not in _QUIET:
                self._counts[found.value] += 1
            if found is PeerEnding.SLOW_BODY or (found is PeerEnding.SLOW_HEAD and not peer.intake.idle):
                self._refuse(peer, 408, "the request did not come in time")
            elif found is PeerEnding.UNANSWERED:
                self._refuse(peer, 504, "the request was not answered in time")
            else:
                self.close(peer)

    def _ready(self, peer: Peer, events: int) -> None:
        try:
            match peer.phase:
                case PeerPhase.HANDSHAKE:
                    self._shake_hands(peer)
                case PeerPhase.SENDING if peer.watched:
                    peer.send()
                    self._sender.go_on(peer)
                case PeerPhase.LINGERING:
                    if peer.read() == b"":
                        self.close(peer)
                case phase if phase in _AT_A_REQUEST:
                    self._read(peer)
                case _ if events & GONE:
                    self.close(peer)  # nothing was asked for, so this is the client's end
                case _:
                    pass  # it could be read a moment ago, before a request that was sent ahead was begun
        except OSError:
            self.close(peer)

    def _shake_hands(self, peer: Peer) -> None:
        try:
            events = peer.shake_hands()
        except ssl.SSLError:
            self._linger(peer)  # closed at once, TCP would reset what the client has yet to read
            return
        if events:
            peer.watch(self._reactor, events)
            return
        peer.enter(PeerPhase.READING, now_s=time.monotonic())
        peer.watch(self._reactor, READABLE)
        if peer.pending:
            self._read(peer)

    def _read(self, peer: Peer) -> None:
        while (data := peer.read()) is not None:
            if not data and peer.phase is PeerPhase.STREAMING:
                self._handover.broken_off(peer)
                return
            if not data:
                self.close(peer)
                return
            if peer.phase is PeerPhase.READING and peer.intake.idle and peer.answered:
                peer.since_s = time.monotonic()
            peer.moved += len(data)
            peer.intake.feed(data)
            self._proceed(peer)
            if peer.phase not in _AT_A_REQUEST or not peer.pending or not self._welcome(peer):
                return

    def _welcome(self, peer: Peer) -> bool:
        """Tell whether more may come; where a thread has enough of a body, wait until it asks for more."""
        if peer.upload is None or not peer.upload.full:
            return True
        peer.watch(self._reactor, 0)
        return False

    def _proceed(self, peer: Peer) -> None:
        try:
            if peer.phase is PeerPhase.READING:
                if (head := peer.intake.head()) is not None:
                    self._begin_request(peer, head)
            elif peer.intake.body():
                self._handover.whole(peer)
            else:
                self._welcome(peer)
        except Refusal as err:
            self._counts[f"refused_{err.status}"] += 1
            self._refuse(peer, err.status, str(err))

    def _begin_request(self, peer: Peer, head: Head) -> None:
        peer.keep_alive = head.keep_alive and not self._draining
        self._handover.begin(peer, head)
        if head.expects_continue and not peer.intake.waiting:
            peer.send(_CONTINUE)
        self._proceed(peer)

    def _answer(self, peer: Peer, answer: ServedAnswer) -> None:
        try:
            self._send(peer, answer)
        except OSError:
            self.close(peer)

    def _send(self, peer: Peer, answer: ServedAnswer) -> None:
        peer.answered += 1
        if peer.phase is not PeerPhase.WORKING or self._draining:
            peer.keep_alive = False
        if peer.phase is not PeerPhase.WORKING:
            peer.forget_request()
        self._sender.send(peer, answer)

    def _refuse(self, peer: Peer, status: int, message: str) -> None:
        """ServedAnswer in the server's name, and close."""
        peer.keep_alive = False
        hint = "send the request anew" if status == 408 else "see the message"
        retry_after_s = RETRY_AFTER_S if status == 503 else None
        self._answer(peer, refusal(status, message, retry_after_s=retry_after_s, hint=hint))

    def _done(self, peer: Peer) -> None:
        """Go on after an answer was taken."""
        now_s = time.monotonic()
        if not peer.keep_alive:
            self._linger(peer)
            return
        peer.enter(PeerPhase.READING, now_s=now_s)
        peer.head = peer.upload = None
        peer.watch(self._reactor, READABLE)
        if not peer.intake.idle or peer.pending:
            self._reactor.call(partial(self._next, peer))  # after others: a client may send a thousand ahead

    def _linger(self, peer: Peer) -> None:
        peer.enter(PeerPhase.LINGERING, now_s=time.monotonic())
        peer.close_sending()
        peer.watch(self._reactor, READABLE)

    def _next(self, peer: Peer) -> None:
        if peer.closed or peer.phase is not PeerPhase.READING:
            return
        try:
            if not peer.intake.idle:
                self._proceed(peer)
            if peer.phase in _AT_A_REQUEST and peer.pending:
                self._read(peer)
        except OSError:
            self.close(peer)

    def _resume(self, peer: Peer) -> None:
        """Read more of a body for which its thread has room again."""
        peer.enter(PeerPhase.STREAMING, now_s=time.monotonic())
        peer.watch(self._reactor, READABLE)
        if peer.pending:
            try:
                self._read(peer)
            except OSError:
                self.close(peer)
