"""The outbox: sends every `desired` that is `unsent` in the store, and notes which ones the broker has.

A `desired` counts as sent when the broker acknowledged it, and as answered when the device reports that it acts on it.
One that a connected device does not answer is sent again, after ever longer pauses, since a broker may lose what it
acknowledged (`answering`). Rollouts hand out what is to be told next as there is room for it, and for what devices
answer: else a rollout would have so many answers wait that it learnt too late of a version that fails. What they take
back comes before everything else.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edgemm import topics
from edgemm.errors import MessageError
from edgemm.messages import Desired
from edgemm.topics import Channel
from edgemm_fleet.broker.broker_connection import BrokerConnection, Receipt
from edgemm_fleet.director.director import Director
from edgemm_fleet.store import Store, desired
from edgemm_fleet.worker import Worker

_AT_ONCE = 500
_POLL_S = 1.0
_NOTED_EVERY_S = 0.1
"""So often it is noted what the broker has, of many messages together: one by one, each would be a transaction."""
_AGAIN_AFTER_S = 30.0
_TOLD_EVERY_S = 1.0
"""So often more devices are told whatever waits: a flood of messages must not hold a rollout up."""
_log = logging.getLogger(__name__)


class HandingOut(Protocol):
    """Those who have devices told something, a part at a time; each is noted in the store before it is returned."""

    @property
    def epoch(self) -> int:
        """Another one as soon as something that was read is not to be sent any more."""

    def take_back(self, *, now: float) -> list[str] | None:
        """Return devices that are told something else than before; None: there are no more."""

    def hand_out(self, *, now: float) -> list[str]:
        """Return devices that are told something new; none: there are no more."""

    def withheld(self, waiting: Sequence[Desired]) -> frozenset[str]:
        """Return the devices of which something of this is still to be taken back: they are not sent it."""


class Outbox:
    """Publishes `desired`, retained, with QoS 1."""

    def __init__(
        self,
        store: Store,
        *,
        director: Director,
        link: BrokerConnection,
        hand_outs: HandingOut,
        clock: Callable[[], float],
        first_pause_s: float = desired.FIRST_PAUSE_S,
        follows: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._store, self._director, self._link, self._clock = store, director, link, clock
        self._hand_outs = hand_outs
        self._first_pause_s, self._follows = first_pause_s, follows
        self._told_s = -math.inf
        self._in_flight: dict[Receipt, Desired] = {}
        self._connection = 0
        self._given: dict[str, tuple[Desired, float]] = {}
        self._resends = True
        """Whether what an earlier connection did not deliver is still to be looked for."""
        self._after = ""
        """The device that was looked at last: whoever cannot be sent to must not keep others from their turn."""
        self._composed: dict[str, float] = {}
        self._wake = threading.Event()
        self._busy_since_s: float | None = None
        self.worker = Worker("edgemm-outbox", self._step)
        self._line = (0, False)
        link.on_change = self._line_changed

    def behind_s(self) -> float:
        """Return since when something has all the time been on its way to the broker."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def start(self) -> None:
        """Begin to send."""
        self.worker.start()

    def stop(self) -> None:
        """End; what is unsent is sent after the next start."""
        self.worker.ask_to_stop()
        self._wake.set()
        self.worker.stop()

    def wake(self) -> None:
        """Look at the store now; called after a commit that may have written `desired`."""
        self._wake.set()

    def _line_changed(self) -> None:
        """Look at once at another connection, and where much was delivered; called in threads of the link."""
        line = (self._link.connection, self._link.connected)
        if line != self._line or self._link.delivered.qsize() >= _AT_ONCE // 2:
            self._line = line
            self._wake.set()

    def _step(self, stopping: threading.Event) -> None:
        self._wake.wait(_NOTED_EVERY_S if self._in_flight else _POLL_S)
        self._wake.clear()
        if stopping.is_set():
            return
        if self._link.connection != self._connection:
            self._connection = self._link.connection
            self._in_flight.clear()
            self._given.clear()
            self._after, self._resends = "", True
        self._exchange()
        if not self._in_flight:
            self._busy_since_s = None
        elif self._busy_since_s is None:
            self._busy_since_s = time.monotonic()

    def _exchange(self) -> None:
        # Before the look at what is to be taken back: what is read and not to be sent any more is of another epoch.
        epoch = self._hand_outs.epoch
        connected = self._link.connected
        if connected:
            self._note_delivered()
            if not self._has_room():
                return
        taken_back = self._hand_outs.take_back(now=self._clock())
        if taken_back is not None:
            self._wake.set()
        if not connected:
            return
        if taken_back is not None:
            epoch = self._hand_outs.epoch  # it is not stale for what was broken off before it is read
            self._resends |= not self._send(self._written(taken_back), epoch)
        if self._has_room() and (taken_back is None or self._resends):
            self._send_waiting(epoch)
        if self._has_room() and taken_back is None and self._may_tell_more() and epoch == self._hand_outs.epoch:
            told = self._hand_outs.hand_out(now=self._clock())
            self._send(self._written(told), epoch)
            if told:
                self._told_s = time.monotonic()
                self._wake.set()
        self._link.awaits_delivery = bool(self._in_flight)

    def _has_room(self) -> bool:
        return len(self._in_flight) < _AT_ONCE  # else deliveries wake it

    def _may_tell_more(self) -> bool:
        """Tell whether there is room for what more devices would answer; else the next stored batch wakes it."""
        return self._follows(self._told_s) or time.monotonic() - self._told_s >= _TOLD_EVERY_S

    def _note_delivered(self) -> None:
        sent = []
        while True:
            try:
                delivered = self._in_flight.pop(self._link.delivered.get_nowait(), None)
            except queue.Empty:
                break
            if delivered is not None:
                sent.append(delivered)
        if sent:
            now = self._clock()
            with self._store.write() as tx:
                desired.mark_sent(tx, sent, now=now, first_pause_s=self._first_pause_s)
            for wanted in sent:
                self._given.pop(wanted.device, None)

    def _send_waiting(self, epoch: int) -> None:
        with self._store.read() as tx:
            ids = desired.unsent_devices(tx, limit=_AT_ONCE, after=self._after)
        self._after = ids[-1] if len(ids) == _AT_ONCE else ""
        found = self._written(ids)
        self._compose_anew(set(ids) - {wanted.device for wanted in found}, now=self._clock())
        self._send(found, epoch)
        self._resends = self._resends and bool(self._after)
        if self._after:
            self._wake.set()

    def _written(self, ids: Sequence[str]) -> list[Desired]:
        """Return what the broker has yet to be told of these devices."""
        with self._store.read() as tx:
            return [record.desired for record in desired.of(tx, ids).values() if record.unsent]

    def _send(self, waiting: Sequence[Desired], epoch: int) -> bool:
        """Send these, as long as nothing is taken back of what was read in this epoch; tell whether that was all."""
        now = self._clock()
        withheld = self._hand_outs.withheld(waiting)
        for wanted in waiting:
            if wanted.device in withheld:
                continue
            if epoch != self._hand_outs.epoch:
                self._wake.set()
                return False
            given, at = self._given.get(wanted.device, (None, 0.0))
            if given == wanted and 0 <= now - at < _AGAIN_AFTER_S:
                continue
            self._given[wanted.device] = (wanted, now)
            self._publish(wanted)
        return True

    def _compose_anew(self, lost: set[str], *, now: float) -> None:
        """Write what cannot be read once more; whose assignments cannot be read either stays in the quarantine."""
        due = sorted(device for device in lost if now - self._composed.get(device, 0.0) >= _AGAIN_AFTER_S)
        if due:
            self._composed = {device: at for device, at in self._composed.items() if device in lost}
            self._composed |= dict.fromkeys(due, now)
            with self._store.write() as tx:
                self._director.write(tx, due, now=now)
            self._wake.set()

    def _publish(self, wanted: Desired) -> None:
        try:
            payload = self._director.seal(wanted)
        except MessageError as err:
            _log.error("desired_too_large device=%s error=%s", wanted.device, err)
            return
        self._link.awaits_delivery = True  # before it is sent: the broker may be quicker than this thread
        receipt = self._link.publish(topics.topic(wanted.fleet, wanted.device, Channel.DESIRED), payload, retain=True)
        if receipt is not None:
            self._in_flight[receipt] = wanted
            _log.info("desired_sent device=%s generation=%d", wanted.device, wanted.generation)
