"""Counters of the messages that came, were stored, and were refused; for `/metrics`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class IngestCounters:
    """Counts by name since the start of the process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count something, for example `received_event` or `refused_untrusted`."""
        with self._lock:
            self._counts[name] += number

    def snapshot(self) -> Mapping[str, int]:
        """Return all counts."""
        with self._lock:
            return dict(self._counts)
