"""The sending of answers: their bytes and the files behind them, as fast as each client takes them.

A chunk of a file is read when its client has taken the one before. What a disk would have to be waited for is read by a
thread of the lane for files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgemm_fleet.http.answers import ServedAnswer, encode_head, has_body, refusal
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.http.means import Means
from edgemm_fleet.http.peer import Peer, PeerPhase
from edgemm_fleet.http.places import OwnerPlaces
from edgemm_fleet.http.reactor import WRITABLE

_CHUNK_BYTES = 64 * 1024
_SMALL = 16 * 1024
_RETRY_AFTER_S = 10


@dataclass(frozen=True)
class Told:
    """Whom the sender tells: that an answer has been taken, and that a connection is to be closed."""

    done: Callable[[Peer], None]
    close: Callable[[Peer], None]


class Sender:
    """What is on its way to clients; used in the event loop's thread alone."""

    def __init__(self, means: Means) -> None:
        self._reactor, self._lanes, self._memory, self._counts = means.reactor, means.lanes, means.memory, means.counts
        self._downloads = OwnerPlaces(most=means.limits.downloads, most_of_one=means.limits.token_downloads)
        self._to: dict[int, Peer] = {}
        self.told = Told(lambda _: None, lambda _: None)

    def send(self, peer: Peer, answer: ServedAnswer) -> None:
        """Send an answer.

        Raises:
            OSError: the connection broke.
        """
        answer = self._admitted(peer, answer)
        asked = peer.head
        head = encode_head(answer, asked=asked, keep_alive=peer.keep_alive, now_s=time.time())
        peer.enter(PeerPhase.SENDING, now_s=time.monotonic())
        body = answer.body if has_body(answer, asked) else b""
        peer.send(head + body)
        self.go_on(peer)

    def go_on(self, peer: Peer) -> None:
        """Send more, where the kernel has taken what it was given; raises as `send`."""
        file = peer.file
        if not peer.sending and file is not None and file.left:
            data = file.read(_CHUNK_BYTES, waiting=False)
            if data is None:
                self._read_later(peer)
                return
            peer.send(data)
        if peer.sending or (file is not None and file.left):
            peer.watch(self._reactor, WRITABLE)
            return
        self.release(peer)
        self.told.done(peer)

    def release(self, peer: Peer) -> None:
        """Give back what an answer held."""
        self._memory.give_back(peer.held)
        peer.held = 0
        if peer.file is not None:
            peer.file.close()
            peer.file = None
            self._downloads.give_back(peer.owner)
            del self._to[peer.descriptor]

    def _admitted(self, peer: Peer, answer: ServedAnswer) -> ServedAnswer:
        """Return what is answered: that there is no room for it now, where so."""
        if answer.file is not None:
            return self._admitted_file(peer, answer)
        if len(answer.body) > _SMALL:
            if not self._memory.take(len(answer.body), share=peer.lane.memory_share):
                self._counts["full_memory"] += 1
                return refusal(503, "this server holds too many answers now", retry_after_s=_RETRY_AFTER_S)
            peer.held = len(answer.body)
        return answer

    def _admitted_file(self, peer: Peer, answer: ServedAnswer) -> ServedAnswer:
        assert answer.file is not None
        owner = self._owner(peer)
        crowd = self._downloads.crowded_by(owner)
        if crowd is not None and self._downloads.of(crowd) > self._downloads.of(owner) + 1:
            slowest = min((one for one in self._to.values() if one.owner == crowd), key=lambda one: one.since_s)
            self._counts["download_gave_way"] += 1
            self.told.close(slowest)  # it goes on from there when it asks again
            crowd = None
        if crowd is not None:
            answer.file.close()
            self._counts["full_downloads"] += 1
            return refusal(503, "too many downloads at once", retry_after_s=_RETRY_AFTER_S)
        peer.file, peer.owner = answer.file, owner
        self._downloads.take(owner)
        self._to[peer.descriptor] = peer
        return answer

    @staticmethod
    def _owner(peer: Peer) -> str:
        shown = peer.head.headers.get("authorization") if peer.head is not None else None
        return peer.address if shown is None else f"token {hash(shown)}"

    def _read_later(self, peer: Peer) -> None:
        """Have a thread read the next chunk, from the disk."""
        file, number = peer.file, peer.answered
        assert file is not None
        peer.watch(self._reactor, 0)

        def read() -> None:
            data: bytes | None = None
            try:
                data = file.read(_CHUNK_BYTES, waiting=True)
            finally:
                self._reactor.call(partial(self._read, peer, number, data))

        if not self._lanes.submit(Lane.FILES, peer.address, read):
            self.told.close(peer)

    def _read(self, peer: Peer, number: int, data: bytes | None) -> None:
        if peer.closed or peer.answered != number:
            return
        if not data:
            self.told.close(peer)  # the file cannot be read: the client asks again for the rest
            return
        try:
            peer.send(data)
            self.go_on(peer)
        except OSError:
            self.told.close(peer)
