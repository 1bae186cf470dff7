"""The orders: actions that travel in a message of their own, because a device may refuse the `desired` with the others.

    orders.due(["cam-1"])       # after a commit: it was asked for, or the device has reported and it waits for it

A device whose clock leapt takes a `desired` for expired or too early. An order has no dates. It is signed by the
director, names the start of the device that last reported, and is done once by its id: so a recorded one does nothing.
It is not retained. What is lost is sent again when the device reports, as it does on every connection, until its result
has come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from edgemm import topics
from edgemm.messages import ActionOrder
from edgemm.topics import Channel
from edgemm_fleet.director.director import Director
from edgemm_fleet.store import Store, actions, reported
from edgemm_fleet.worker import Worker

_AT_ONCE = 500
_POLL_S = 1.0
_log = logging.getLogger(__name__)
Publish = Callable[[str, bytes], object]


class Orders:
    """Sends what is due in a thread of its own; `publish` returns None where it cannot be sent now."""

    def __init__(self, store: Store, *, director: Director, publish: Publish) -> None:
        self._store, self._director, self._publish = store, director, publish
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._due: dict[str, None] = {}
        self.worker = Worker("edgemm-orders", self._step)

    def start(self) -> None:
        """Begin to send."""
        self.worker.start()

    def stop(self) -> None:
        """End; what was not sent is sent when its device reports."""
        self.worker.ask_to_stop()
        self._wake.set()
        self.worker.stop()

    def due(self, devices: Iterable[str]) -> None:
        """Send these devices what they are to be ordered; returns at once."""
        with self._lock:
            self._due |= dict.fromkeys(devices)
        self._wake.set()

    def _step(self, stopping: threading.Event) -> None:
        self._wake.wait(_POLL_S)
        self._wake.clear()
        with self._lock:
            chosen = list(self._due)[:_AT_ONCE]
        if stopping.is_set() or not chosen:
            return
        sent = self._send(chosen)
        with self._lock:
            for device in sent:
                self._due.pop(device, None)
            left = bool(self._due)
        if left and sent:
            self._wake.set()

    def _send(self, devices: list[str]) -> list[str]:
        """Send them what waits; return those of whom nothing is left to be sent now."""
        with self._store.read() as tx:
            waiting, reports = actions.ordered(tx, devices), reported.of(tx, devices)
        boots = {device: record.reported.boot for device, record in reports.items()}
        unsent = set()
        for device in waiting.keys() & boots.keys():  # one that never reported is told once it has
            topic = topics.topic(self._director.fleet, device, Channel.ACTION)
            for record in waiting[device]:
                order = ActionOrder(fleet=self._director.fleet, device=device, boot=boots[device], action=record.action)
                if self._publish(topic, self._director.seal_order(order)) is None:
                    unsent.add(device)
                else:
                    _log.info("order_sent device=%s kind=%s", device, record.action.kind)
        return [device for device in devices if device not in unsent]
