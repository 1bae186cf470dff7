"""Messages on topics that no device has: under a device's name, but at the shard of another one.

A broker's access rules know no shards, so that one device could have it retain as many messages as it likes. No honest
device sends any. What the broker may retain of them is cleared, so many at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from edgemm import topics
from edgemm.errors import MessageError
from edgemm_fleet.ingest.reading import address_of

_MOST = 1000
_LONGEST_TOPIC = 65_535
"""Bytes: MQTT 3.1.1, section 1.5.3."""
_MOST_LEVELS = 200
"""Of a topic. Mosquitto hangs up on who publishes to a deeper one."""


class Garbage:
    """Tells garbage from messages, and has it cleared; for one thread."""

    def __init__(self, fleet: str, clear: Callable[[str], None] | None) -> None:
        self._clear = clear or (lambda _: None)
        self._below = f"{topics.ROOT}/{fleet}/"
        self._clearing: set[str] = set()

    def speaker(self, topic: str, payload: bytes) -> str | None:
        """Return whose message it is; None: nobody can have meant it, and what the broker keeps of it is cleared."""
        try:
            return address_of(topic).device
        except MessageError:
            if payload and self._can_be_kept(topic) and topic not in self._clearing and len(self._clearing) < _MOST:
                self._clearing.add(topic)
                self._clear(topic)
            return None

    def was_ours(self, topic: str, payload: bytes) -> bool:
        """Tell whether it is what this process published to clear a topic, which the broker sends back."""
        if payload or topic not in self._clearing:
            return False
        self._clearing.discard(topic)
        return True

    def _can_be_kept(self, topic: str) -> bool:
        """Tell whether devices can have the broker retain it: one that lies sends what nobody may publish to."""
        if any(char in topic for char in "+#\0") or topic.count("/") >= _MOST_LEVELS:
            return False
        return topic.startswith(self._below) and len(topic.encode()) <= _LONGEST_TOPIC
