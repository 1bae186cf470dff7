"""The inbox of the agent's loop: signals of its own threads, and a bounded number of the broker's messages.

A broker may send faster than a device obeys. Of each channel the latest messages are kept and the oldest are dropped.
That does no harm: an acknowledgement says everything that an earlier one said, and of the desired states the highest
generation counts, which the fleet manager sends again when a device reports another. A message that waits already is
not kept twice.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from enum import StrEnum

import msgspec

from edgemm.topics import FROM_FLEET, Channel

_log = logging.getLogger(__name__)
MAX_WAITING = 16
"""Messages of one channel that may wait; each is a control message of at most 32 KiB."""


class Signal(StrEnum):
    """What the agent's own threads, and signal handlers, tell its loop."""

    WAKE = "wake"
    CONNECTED = "connected"
    KEYS = "keys"
    TIME = "time"
    KEYS_CHANGED = "keys_changed"
    STOP = "stop"
    RESTART = "restart"


class Received(msgspec.Struct, frozen=True):
    """A message of the broker."""

    channel: Channel
    payload: bytes


class Inbox:
    """Filled by many threads, emptied by one."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._items: queue.SimpleQueue[Signal | Channel] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[Channel, deque[bytes]] = {channel: deque() for channel in FROM_FLEET}
        self._max_waiting = max_waiting
        self.dropped = 0
        """Messages that had to make room, since the start."""

    def put(self, signal: Signal) -> None:
        """Add a signal; takes no lock, for it is called in signal handlers too."""
        self._items.put(signal)

    def receive(self, channel: Channel, payload: bytes) -> None:
        """Add a message, unless the very same waits already; the oldest of its channel makes room."""
        with self._lock:
            waiting = self._waiting[channel]
            if payload in waiting:
                return
            waiting.append(payload)
            if len(waiting) <= self._max_waiting:
                self._items.put(channel)
                return
            # The place that the oldest one has among the items is taken over.
            waiting.popleft()
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _log.warning("messages dropped, the broker sends faster than they are obeyed channel=%s", channel)

    def get(self, timeout_s: float) -> Signal | Received | None:
        """Return what came first; None where nothing comes within the time."""
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, Signal):
            return item
        with self._lock:
            return Received(item, self._waiting[item].popleft())
