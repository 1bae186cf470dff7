"""Counters of the messages that came, were stored, and were refused; for `/metrics`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from edgemm_fleet.records.refused_messages import REFUSED, RefusedMessage

IGNORED = "ignored_reported"
"""Reports of devices that are there, of another start than the newest and with lower numbers."""


DUPLICATE = "duplicate_identity"
"""Messages by which two live devices of one identity were noticed."""
SHED = "shed_over_share"
STORE_FAILURES = "store_failures"
RECEIVED = ("received_event", "received_reported", "received_status", "received_telemetry")


class IngestCounters:
    """Counts by name since the start of the process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        refused = (f"{REFUSED}{why}" for why in RefusedMessage)
        self._counts = Counter(dict.fromkeys([*RECEIVED, IGNORED, DUPLICATE, SHED, STORE_FAILURES, *refused], 0))

    def add(self, name: str, number: int = 1) -> None:
        """Count something, for example `received_event`."""
        with self._lock:
            self._counts[name] += number

    def add_all(self, counts: Mapping[str, int]) -> None:
        """Count several things."""
        with self._lock:
            self._counts.update(counts)

    def refuse(self, why: RefusedMessage, number: int = 1) -> None:
        """Count messages that are not taken."""
        self.add(f"{REFUSED}{why}", number)

    def snapshot(self) -> Mapping[str, int]:
        """Return all counts; each is there from the start."""
        with self._lock:
            return dict(self._counts)
