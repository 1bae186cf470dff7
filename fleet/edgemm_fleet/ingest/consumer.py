"""The thread between the broker and the store: gathers messages into batches, and acknowledges what is durable.

A lone message is stored at once; those that come one after the other are gathered for a twentieth of a second. What
waits is bounded, in all and for each device (`fair_queue`). What a device sends beyond its share is thrown away,
unacknowledged and counted (`shedding`). Where all together send more than the store can follow, the broker's thread
waits.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable

from edgemm import topics
from edgemm.errors import EnvironmentFailure
from edgemm.messages import MAX_CONTROL_BYTES, Ack, encode_control
from edgemm.topics import Channel
from edgemm_fleet.clock import check_clock
from edgemm_fleet.ingest.batch import Ingest
from edgemm_fleet.ingest.fair_queue import FairQueue, Offer, ShareLimits
from edgemm_fleet.ingest.garbage import Garbage
from edgemm_fleet.ingest.ingest_counters import SHED, STORE_FAILURES
from edgemm_fleet.ingest.ingest_progress import IngestProgress
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.ingest.shedding import Misdeed
from edgemm_fleet.quiet_log import QuietLog
from edgemm_fleet.records.refused_messages import RefusedMessage
from edgemm_fleet.worker import Worker

_log = logging.getLogger(__name__)
_MAX_BATCH = 1000
_MAX_BATCH_BYTES = 2 * 1024 * 1024
_ENOUGH = 500
_PACE_S, _LONGEST_PACE_S = 0.05, 0.2
"""Where messages come one after the other, there is no batch sooner than this after the last one, unless it is of
`_ENOUGH` messages: each is a transaction, which costs as much as a hundred windows. After one that took long it is
twice as long as that: of a device that says several things in a row, much is read and written once a batch."""
_POLL_S = 0.5
_MOST_FAILED = 3
"""Messages of a device in a batch that are tried one by one."""
Publish = Callable[[str, bytes], object]


class Consumer:
    """Takes messages with `receive`, from any thread; blocks the sender when the store cannot follow."""

    def __init__(
        self,
        ingest: Ingest,
        *,
        fleet: str,
        clock: Callable[[], float],
        publish: Publish,
        committed: Callable[[], None],
        limits: ShareLimits | None = None,
        clear: Callable[[str], None] | None = None,
    ) -> None:
        self._ingest, self._fleet, self._clock = ingest, fleet, clock
        self._publish, self._committed = publish, committed
        self._shedding = ingest.shedding
        self._garbage = Garbage(fleet, clear)
        self._waiting: FairQueue[Incoming] = FairQueue(limits)
        self._changed = threading.Condition()
        self._ended = False
        self._gathered_s, self._took_s = 0.0, 0.0
        self._quiet = QuietLog(_log)
        self._unstored: list[Incoming] = []
        self.progress = IngestProgress()
        self.worker = Worker("edgemm-ingest", self._step)

    def start(self) -> None:
        """Begin to store."""
        self.worker.start()

    def stop(self) -> None:
        """End; what is not stored is not acknowledged, and devices send it again."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self.worker.stop()

    @property
    def waiting_bytes(self) -> int:
        """What waits in the queue, with what each message takes besides."""
        return self._waiting.held_bytes

    def receive(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Take one message of the broker; one that is too large to be read is not kept waiting."""
        if self._garbage.was_ours(topic, payload):
            return
        device = self._garbage.speaker(topic, payload)
        if device is None:
            self._refuse_garbage(topic, len(payload), retained=retained)
            return
        if len(payload) > MAX_CONTROL_BYTES:
            self._ingest.counters.refuse(RefusedMessage.TOO_LARGE)
            self._quiet.warning(device, "ingest_refused why=too_large topic=%r bytes=%d", topic[:200], len(payload))
            self._shedding.note(device, Misdeed.REFUSED)
            return
        incoming = Incoming(topic, payload, retained)
        with self._changed:
            now_s = time.monotonic()
            self._waiting.begin_span(now_s)
            while (answer := self._waiting.offer(device, incoming, size=len(payload))) is Offer.WAIT:
                if self._ended:
                    return
                self._changed.wait(_POLL_S)
            if answer is Offer.TAKEN:
                self.progress.came(now_s)
            if self._waiting.held_messages in {1, _ENOUGH}:  # else whoever gathers would be woken by each
                self._changed.notify_all()
        if answer is Offer.SHED:
            self._ingest.counters.add(SHED)
            self._shedding.note(device, Misdeed.OVER_SHARE, size=len(payload))

    def _refuse_garbage(self, topic: str, size: int, *, retained: bool) -> None:
        device = topics.claimed(topic)
        self._ingest.counters.refuse(RefusedMessage.GARBAGE)
        self._quiet.warning(device, "ingest_refused why=garbage topic=%r", topic[:200])
        if device and not retained:  # what is retained may be of long ago
            self._shedding.note(device, Misdeed.GARBAGE, size=size)

    def _step(self, _stopping: threading.Event) -> None:
        if not self._unstored:
            self._unstored = self._gather()
        if not self._unstored:
            return
        # Else a soak would be over at once, or for years not, and devices told what they refuse: it waits, as do they.
        check_clock(self._clock())
        begun_s = time.monotonic()
        acks = self._store(self._unstored)
        self._took_s = time.monotonic() - begun_s
        self.progress.stored(len(self._unstored))
        self._unstored = []
        self._committed()
        for device, ack in acks:
            self._acknowledge(device, ack)

    def _store(self, batch: list[Incoming], *, failed: Counter[str] | None = None) -> list[tuple[str, Ack]]:
        """Store a batch; a message that cannot be handled is dropped and told, and holds up none of the others.

        A batch that fails is parted: by devices, then that of one device by its messages. After a few of one device
        the rest of its messages goes too: each try is a transaction, for which everybody else waits.
        """
        try:
            acks = self._ingest.process(batch, now=self._clock())
        except EnvironmentFailure:
            self._ingest.counters.add(STORE_FAILURES)
            raise  # the worker logs it and comes back; the batch is kept
        except Exception as err:  # noqa: BLE001 - the boundary of what devices say: one of them must not stop the ingest of all
            failed = Counter() if failed is None else failed
            if (parts := _parted(batch, failed)) is not None:
                return [ack for part in parts for ack in self._store(part, failed=failed)]
            self._drop(batch, err, failed)
            return []
        return [(device, ack) for device, messages in acks.items() for ack in messages]

    def _drop(self, batch: list[Incoming], err: Exception, failed: Counter[str]) -> None:
        speaker = _speaker(batch[0].topic)
        failed[speaker] += 1
        self._ingest.counters.refuse(RefusedMessage.UNFORESEEN, len(batch))
        said, how = "ingest_refused why=unforeseen topic=%r messages=%d\n%s", "".join(traceback.format_exception(err))
        self._quiet.warning(speaker, said, batch[0].topic[:200], len(batch), how)

    def _gather(self) -> list[Incoming]:
        with self._changed:
            if not self._waiting.held_messages:
                self._changed.wait(_POLL_S)
            pace_s = min(max(_PACE_S, 2 * self._took_s), _LONGEST_PACE_S)
            while self._waiting.held_messages < _ENOUGH and not self._ended:
                if (early_s := self._gathered_s + pace_s - time.monotonic()) <= 0:
                    break
                self._changed.wait(early_s)
            self._gathered_s = time.monotonic()
            batch = self._waiting.take(most=_MAX_BATCH, most_bytes=_MAX_BATCH_BYTES)
            self._changed.notify_all()
        return batch

    def _acknowledge(self, device: str, ack: Ack) -> None:
        self._publish(topics.topic(self._fleet, device, Channel.ACK), encode_control(ack))


def _speaker(topic: str) -> str:
    """Return whose message it is, by its topic alone."""
    return topic[:200].rpartition("/")[0]


def _parted(batch: list[Incoming], failed: Counter[str]) -> tuple[list[Incoming], list[Incoming]] | None:
    """Return two parts of a batch, each in order, with all messages of a device in one; None where it is not parted."""
    speakers = sorted({_speaker(incoming.topic) for incoming in batch})
    if len(speakers) > 1:
        first = set(speakers[: len(speakers) // 2])
        return (
            [incoming for incoming in batch if _speaker(incoming.topic) in first],
            [incoming for incoming in batch if _speaker(incoming.topic) not in first],
        )
    if len(batch) == 1 or failed[speakers[0]] >= _MOST_FAILED:
        return None
    half = len(batch) // 2
    return batch[:half], batch[half:]
