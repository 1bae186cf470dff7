"""Counters of served requests: pure data that the agent and `/metrics` read at any time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque

import msgspec

from edgemm.messages import LATENCY_EDGES_S
from edgemm_runtime.identity import ServedKey


class CounterSnapshot(msgspec.Struct, frozen=True):
    """Counters of one (model, digest, variant) since the process started; they only rise.

    `requests` reached the model, `errors` of them failed in the engine; what a client got wrong is in neither.
    `latency_counts` has one count for each bucket of `LATENCY_EDGES_S` and one for what is above the last edge.
    `hangs` of the errors were inferences that did not end and were given up. `uncomputable` requests, in none of the
    others, were of a size that the signature allows and the model cannot compute.
    """

    key: ServedKey
    requests: int
    errors: int
    latency_sum_s: float
    latency_counts: tuple[int, ...]
    hangs: int = 0
    uncomputable: int = 0


_FRESH = 256
"""So many answered requests are counted together."""


class Counters:
    """Counters of one key; safe to use from many threads."""

    def __init__(self, key: ServedKey) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._requests = self._errors = self._hangs = self._uncomputable = 0
        self._fresh: deque[float] = deque()
        self._latency_sum_s = 0.0
        self._latency_counts = [0] * (len(LATENCY_EDGES_S) + 1)

    def add(self, latency_s: float, *, failed: bool = False) -> None:
        """Count one request that took `latency_s` in the model; hot: it is noted here, and counted with others."""
        self._fresh.append(latency_s)
        if failed or len(self._fresh) >= _FRESH:
            with self._lock:
                self._errors += failed
                self._settle()

    def add_hang(self, waited_s: float) -> None:
        """Count one request that was given up after `waited_s`, because the model did not answer it."""
        self.add(waited_s, failed=True)
        with self._lock:
            self._hangs += 1

    def add_uncomputable(self) -> None:
        """Count one request of a size that the model cannot compute."""
        with self._lock:
            self._uncomputable += 1

    def snapshot(self) -> CounterSnapshot:
        """Return the counters as they are now."""
        with self._lock:
            self._settle()
            counts = tuple(self._latency_counts)
            return CounterSnapshot(
                self.key, self._requests, self._errors, self._latency_sum_s, counts, self._hangs, self._uncomputable
            )

    def _settle(self) -> None:
        """Count what is fresh; the lock is held."""
        fresh = [self._fresh.popleft() for _ in range(len(self._fresh))]
        self._requests += len(fresh)
        self._latency_sum_s += sum(fresh)
        for latency_s in fresh:
            self._latency_counts[bisect_left(LATENCY_EDGES_S, latency_s)] += 1
