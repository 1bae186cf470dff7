"""The room for requests over MQTT, and the counts of what became of them. Thread-safe, no I/O."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from edgemm_runtime.mqtt.asking import MqttRequest, given_id
from edgemm_runtime.mqtt.owner_broker import MqttLimits


class Outcome(StrEnum):
    """What became of a message."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """Answered with an error."""
    DROPPED = "dropped"
    """It found no room."""
    IGNORED = "ignored"
    """A retained one, or one that is being answered already."""
    UNSENT = "unsent"
    """Its answer found no broker that takes it."""


class Room:
    """Requests in flight, at most so many and so many bytes."""

    def __init__(self, limits: MqttLimits) -> None:
        self._limits, self._lock = limits, threading.Condition()
        self._taken: list[MqttRequest] = []
        self._untold = 0
        self._counts: Counter[Outcome] = Counter()

    def take(self, message: MqttRequest) -> Outcome | None:
        """Take a message in; an outcome where it is not.

        Of two that are the same, their id too, one answer is enough.
        """
        with self._lock:
            if message in self._taken and (message.correlation is not None or given_id(message) is not None):
                return Outcome.IGNORED
            held = sum(len(one.payload) for one in self._taken)
            full = len(self._taken) >= self._limits.max_in_flight
            if full or held + len(message.payload) > self._limits.max_in_flight_bytes:
                return Outcome.DROPPED
            self._taken.append(message)
            self._untold += 1
            return None

    def leave(self, message: MqttRequest) -> bool:
        """Give back the room of a message; False where that was done before: a model that hung may come back."""
        with self._lock:
            before = len(self._taken)
            self._taken = [one for one in self._taken if one is not message]
            return len(self._taken) < before

    def told(self) -> None:
        """Note that the answer to a message that left has been handed to the broker's client, or dropped."""
        with self._lock:
            self._untold -= 1
            self._lock.notify_all()

    def wait_until_told(self, timeout_s: float) -> bool:
        """Wait until no message is in flight; False where one still is."""
        with self._lock:
            return self._lock.wait_for(lambda: self._untold == 0, timeout_s)

    def count(self, outcome: Outcome) -> int:
        """Count one message; return how many had this outcome."""
        with self._lock:
            self._counts[outcome] += 1
            return self._counts[outcome]

    def counts(self) -> Mapping[Outcome, int]:
        """Return the counts since the start."""
        with self._lock:
            return {outcome: self._counts[outcome] for outcome in Outcome}
