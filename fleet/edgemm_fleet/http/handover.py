"""The handing over of requests to the threads of lanes: whole, or, where they are large, from their heads on."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgemm.transport.request_head import Head, Refusal
from edgemm_fleet.http.answers import ServedAnswer, refusal
from edgemm_fleet.http.backend import FAULT, Backend
from edgemm_fleet.http.held_memory import GatheredBody
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.http.means import Means
from edgemm_fleet.http.peer import Peer, PeerPhase
from edgemm_fleet.http.upload import Upload

RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Answered:
    """Whom the threads' answers are told, and that a thread wants more of a body; in the event loop's thread."""

    answer: Callable[[Peer, ServedAnswer], None]
    resume: Callable[[Peer], None]


class Handover:
    """Used in the event loop's thread alone, but for the work itself."""

    def __init__(self, means: Means, backend: Backend) -> None:
        self._means, self._backend = means, backend
        self.told = Answered(lambda _peer, _answer: None, lambda _: None)

    def begin(self, peer: Peer, head: Head) -> None:
        """Take the head of a request, and get ready for its body.

        Raises:
            Refusal: nobody has room for it.
        """
        peer.head = head
        peer.asked_from = self._backend.address(head, peer.address)
        peer.lane = self._backend.lane_of(head, peer.asked_from)
        large = head.content_length > self._means.limits.gathered_bytes and not head.chunked
        if peer.lane is Lane.UPLOADS or large:
            self._stream(peer, head)
            return
        most, share = self._means.limits.gathered_bytes, peer.lane.memory_share
        body = peer.body = GatheredBody(self._means.memory, most=most, share=share)
        peer.intake.begin(head, body.add)
        peer.enter(PeerPhase.GATHERING, now_s=time.monotonic())

    def whole(self, peer: Peer) -> None:
        """Have a request answered whose last byte has come."""
        streaming = peer.phase is PeerPhase.STREAMING
        peer.enter(PeerPhase.WORKING, now_s=time.monotonic())
        peer.watch(self._means.reactor, 0)
        if streaming:
            assert peer.upload is not None
            peer.upload.end()
            return
        assert peer.head is not None
        assert peer.body is not None
        body, peer.body = peer.body, None
        if not self._submit(peer, peer.lane, peer.head, body.stream(), gathered=body):
            body.drop()
            busy = refusal(503, "too many requests wait already", retry_after_s=RETRY_AFTER_S)
            self.told.answer(peer, busy)

    def broken_off(self, peer: Peer) -> None:
        """Tell the thread that reads a body that no more comes; the client may still read its answer."""
        assert peer.upload is not None
        peer.upload.fail()
        peer.keep_alive = False
        peer.enter(PeerPhase.WORKING, now_s=time.monotonic())
        peer.watch(self._means.reactor, 0)

    def _stream(self, peer: Peer, head: Head) -> None:
        upload = peer.upload = Upload(partial(self._means.reactor.call, partial(self._wanted, peer, peer.answered)))
        peer.intake.begin(head, upload.put)
        peer.enter(PeerPhase.STREAMING, now_s=time.monotonic())
        # Of others the application reads no such body: it refuses them, and that must not take the uploads' places.
        lane = Lane.UPLOADS if peer.lane is Lane.PEOPLE else peer.lane
        if not self._submit(peer, lane, head, upload):
            raise Refusal(503, "too many uploads at once")

    def _wanted(self, peer: Peer, number: int) -> None:
        if not peer.closed and peer.answered == number and peer.phase is PeerPhase.STREAMING:
            self.told.resume(peer)

    def _submit(
        self, peer: Peer, lane: Lane, head: Head, body: io.IOBase, *, gathered: GatheredBody | None = None
    ) -> bool:
        number, address = peer.answered, peer.asked_from

        def give(answer: ServedAnswer) -> None:
            self._means.reactor.call(partial(self._answered, peer, number, answer, gathered))

        def work() -> None:
            answer = FAULT
            try:
                if not peer.closed:
                    answer = self._backend.ask(head, body, address)
            finally:
                if answer.after is None:
                    give(answer)
            if answer.after is not None:
                answer.after(lambda instead: give(instead or answer))

        taken = self._means.lanes.submit(lane, address, work)
        if not taken:
            self._means.counts[f"full_{lane.value}"] += 1
        return taken

    def _answered(self, peer: Peer, number: int, answer: ServedAnswer, gathered: GatheredBody | None) -> None:
        """Pass on what a thread has answered, unless the client is gone or was told otherwise."""
        if gathered is not None:
            gathered.drop()
        if not peer.closed and peer.answered == number:
            self.told.answer(peer, answer)
        elif answer.file is not None:
            answer.file.close()
