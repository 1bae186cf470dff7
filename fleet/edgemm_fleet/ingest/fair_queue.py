"""The queue between the broker and the ingest, in which each device has a share. Pure: no thread, no clock.

* A device holds at most `device_bytes`, and less while others wait too: no more than what is still free of
  `total_bytes`. So one that floods, or a hundred, leave room for the message of one that does not (dynamic thresholds:
  Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
* Devices are served in turn, `turn_bytes` each or the one message that is larger: one waits for the turns of others,
  not for their floods. A turn is of several windows, so that they are acknowledged together (after deficit round robin:
  Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin", 1995).
* Nobody gets more than `span_bytes` into the queue within `span_s`, which is more than an honest device's whole spool.
* A message of a device that holds less than `modest_bytes` is not shed but delayed: it waits for room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True)
class ShareLimits:
    """How much may wait."""

    device_bytes: int = 4 * _MIB
    """Of one device. An honest one has 64 messages unacknowledged, and a report: not half of it."""

    total_bytes: int = 48 * _MIB
    """Of all."""

    span_bytes: int = 32 * _MIB
    """Of one device, in `span_s`."""

    span_s: float = 10.0

    modest_bytes: int = 64 * _KIB
    """What of one device is delayed where there is no room, and not shed."""

    turn_bytes: int = 16 * _KIB
    """What is taken of one device before it is the next one's turn, or one message more."""

    message_bytes: int = 512
    """What a message takes besides its payload, roughly."""


class Offer(Enum):
    """What becomes of a message."""

    TAKEN = "taken"
    SHED = "shed"
    WAIT = "wait"
    """There is no room: offer it again once something was taken out."""


class FairQueue(Generic[_Item]):
    """Messages by device, taken out in turn; those of one device stay in order."""

    def __init__(self, limits: ShareLimits | None = None) -> None:
        self._limits = limits or ShareLimits()
        self._waiting: dict[Hashable, deque[tuple[_Item, int]]] = {}
        self._held: dict[Hashable, int] = {}
        self._turns: deque[Hashable] = deque()
        self._span: dict[Hashable, int] = {}
        self._span_begun_s = 0.0
        self.held_bytes = 0
        """What waits in all."""
        self.held_messages = 0

    def begin_span(self, now_s: float) -> None:
        """Note the time: after `span_s`, what each device got in counts anew."""
        if now_s - self._span_begun_s >= self._limits.span_s:
            self._span, self._span_begun_s = {}, now_s

    def offer(self, device: Hashable, item: _Item, *, size: int) -> Offer:
        """Take a message with a payload of `size` bytes, or tell why not."""
        limits = self._limits
        cost, held = size + limits.message_bytes, self._held.get(device, 0)
        free = limits.total_bytes - self.held_bytes
        taken = self._span.get(device, 0)
        if held + cost > limits.device_bytes or taken + cost > limits.span_bytes:
            return Offer.SHED
        if cost > free or held > free:
            return Offer.WAIT if held + cost <= limits.modest_bytes else Offer.SHED
        if device not in self._waiting:
            self._waiting[device] = deque()
            self._turns.append(device)
        self._waiting[device].append((item, cost))
        self._held[device] = held + cost
        self._span[device] = taken + cost
        self.held_bytes += cost
        self.held_messages += 1
        return Offer.TAKEN

    def take(self, *, most: int, most_bytes: int) -> list[_Item]:
        """Take out the next messages, one device after another; at least one, if any waits."""
        taken: list[_Item] = []
        size = 0
        while self._turns and len(taken) < most and size < most_bytes:
            device = self._turns.popleft()
            waiting = self._waiting[device]
            turn = 0
            while waiting and len(taken) < most and size < most_bytes and (not turn or turn < self._limits.turn_bytes):
                item, cost = waiting.popleft()
                taken.append(item)
                turn += cost
                size += cost
            self._held[device] -= turn
            if waiting:
                self._turns.append(device)
            else:
                del self._waiting[device], self._held[device]
        self.held_bytes -= size
        self.held_messages -= len(taken)
        return taken
