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
from collections.abc import Callable, Sequence
from functools import lru_cache

from edgemm import topics
from edgemm.errors import EnvironmentFailure
from edgemm.messages import MAX_CONTROL_BYTES, Ack, encode_control
from edgemm.topics import Channel
from edgemm.transport.whole_packets import Taken
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
_FIRST_BATCH, _LEAST_BATCH, _MOST_BATCH = 1000, 500, 4000
"""Messages. How many there are in a batch follows from how long the last ones took: see `fitting`."""
_BATCH_S = 0.05
"""A batch is to take no longer of a CPU, unless it is one of `_LEAST_BATCH`: meanwhile nobody else writes. Where a
disk, a database or other programs make it longer, a smaller one would cost as many waits, for fewer messages."""
_MAX_BATCH_BYTES = 2 * 1024 * 1024
_ENOUGH = 500
_PACE_S, _LONGEST_PACE_S = 0.05, 0.2
"""Where messages come one after the other, there is no batch sooner than this after the last one, unless it is of
`_ENOUGH` messages: each is a transaction, which costs as much as a hundred windows. After one that took long it is
twice as long as that: of a device that says several things in a row, much is read and written once a batch."""
_POLL_S = 0.5
_MEASURED = f"/{Channel.TELEMETRY}"
_MOST_FAILED = 3
"""Messages of a device in a batch that are tried one by one."""
Publish = Callable[[Sequence[tuple[str, bytes]]], object]
"""Sends messages (topic, payload) together."""


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
        self._most = _FIRST_BATCH
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
        """Take one message of the broker."""
        self.receive_all([(topic, payload, retained)])

    def receive_all(self, messages: Sequence[Taken]) -> None:
        """Take messages of the broker, in their order; one that is too large to be read is not kept waiting."""
        admitted = [one for one in map(self._admitted, messages) if one is not None]
        shed = list[tuple[str, int]]()
        with self._changed:
            now_s, before = time.monotonic(), self._waiting.held_messages
            self._waiting.begin_span(now_s)
            for device, incoming in admitted:
                size = len(incoming.payload)
                while (answer := self._waiting.offer(device, incoming, size=size)) is Offer.WAIT:
                    if self._ended:
                        return
                    self._changed.notify_all()
                    self._changed.wait(_POLL_S)
                    before = 0
                if answer is Offer.TAKEN:
                    self.progress.came(now_s)
                else:
                    shed.append((device, size))
            after = self._waiting.held_messages
            if before == 0 or before < _ENOUGH <= after:  # else whoever gathers would be woken by each
                self._changed.notify_all()
        for device, size in shed:
            self._ingest.counters.add(SHED)
            self._shedding.note(device, Misdeed.OVER_SHARE, size=size)

    def _admitted(self, message: Taken) -> tuple[str, Incoming] | None:
        """Return whose message it is, and the message; None where it is not to be kept waiting."""
        topic, payload, retained = message
        if self._garbage.was_ours(topic, payload):
            return None
        device = self._garbage.speaker(topic, payload)
        if device is None:
            self._refuse_garbage(topic, len(payload), retained=retained)
            return None
        if len(payload) > MAX_CONTROL_BYTES:
            self._ingest.counters.refuse(RefusedMessage.TOO_LARGE)
            self._quiet.warning(device, "ingest_refused why=too_large topic=%r bytes=%d", topic[:200], len(payload))
            self._shedding.note(device, Misdeed.REFUSED)
            return None
        return device, Incoming(topic, payload, retained)

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
        begun_s, cpu_s, number = time.monotonic(), time.thread_time(), len(self._unstored)
        acks = self._store(self._unstored)
        self._took_s = time.monotonic() - begun_s
        self._most = fitting(self._most, number, time.thread_time() - cpu_s)
        self.progress.stored(number)
        told_more = any(not one.topic.endswith(_MEASURED) for one in self._unstored)
        self._unstored = []
        if told_more:  # windows change nothing that anybody is told
            self._committed()
        if acks:
            self._publish([(_topic_of(self._fleet, device), encode_control(ack)) for device, ack in acks])

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
            batch = self._waiting.take(most=self._most, most_bytes=_MAX_BATCH_BYTES)
            self._changed.notify_all()
        return batch


def fitting(most: int, number: int, took_s: float) -> int:
    """Return how many messages the next batch may have, after one of `number` took so long. Pure.

    It doubles at most, and is no smaller than half of what it was.
    """
    if number < most:  # a small batch costs more a message than a large one, and says nothing of that
        return most
    fits = int(number * _BATCH_S / max(took_s, 1e-6))
    return max(_LEAST_BATCH, most // 2, min(fits, 2 * most, _MOST_BATCH))


@lru_cache(maxsize=10_000)
def _topic_of(fleet: str, device: str) -> str:
    return topics.topic(fleet, device, Channel.ACK)


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
