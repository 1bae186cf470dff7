"""The shadows of one process: at most one beside each model, and the counters of all that ever ran."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial

from edgemm_runtime.identity import ServedKey
from edgemm_runtime.shadow.shadow import Shadow, ShadowCandidate, ShadowState
from edgemm_runtime.shadow.shadow_limits import ShadowLimits
from edgemm_runtime.shadow.tally import ShadowCounts, ShadowKey, ShadowTally


@dataclass(frozen=True)
class ShadowStatus:
    """One shadow as it is now: where it stands and why, and what errors of each output's values are a share of."""

    candidate: ShadowCandidate
    state: ShadowState
    reason: str
    ranges: dict[str, float]


class RunningShadows:
    """Starts and stops shadows; safe to use from many threads."""

    def __init__(self, limits: ShadowLimits | None = None) -> None:
        self._limits = limits or ShadowLimits()
        self._lock = threading.Lock()
        self._shadows: dict[str, Shadow] = {}
        self._ending: list[Shadow] = []
        self._tallies: dict[ShadowKey, ShadowTally] = {}

    def put(self, candidate: ShadowCandidate) -> Shadow:
        """Run a candidate beside the model of its name, in place of what ran there; the same one goes on.

        Waits for nothing: what ran there may take a moment longer to be gone.
        """
        name = candidate.key.name
        with self._lock:
            before = self._shadows.get(name)
            if before is not None and before.candidate == candidate:
                return before
            shadow = Shadow(candidate, self._limits, tally=partial(self._tally, candidate.key))
            self._shadows[name] = shadow
            self._retire(before)
        return shadow

    def remove(self, name: str) -> None:
        """End the shadow beside a model, if there is one, and wait for nothing; its counters stay."""
        with self._lock:
            self._retire(self._shadows.pop(name, None))

    def close(self, *, timeout_s: float = 5.0) -> None:
        """End all shadows and wait until nothing of them is left."""
        with self._lock:
            for name in list(self._shadows):
                self._retire(self._shadows.pop(name))
            ending, self._ending = self._ending, []
        deadline_s = time.monotonic() + timeout_s
        for shadow in ending:
            shadow.join(max(0.0, deadline_s - time.monotonic()))

    def beside(self, name: str) -> Shadow | None:
        """Return the shadow beside a model."""
        return self._shadows.get(name)

    def statuses(self) -> tuple[ShadowStatus, ...]:
        """Return where each shadow stands."""
        with self._lock:
            shadows = tuple(self._shadows.values())
        return tuple(ShadowStatus(s.candidate, s.state, s.reason, dict(s.ranges)) for s in shadows)

    def counts(self) -> tuple[ShadowCounts, ...]:
        """Return the counters of every pair since the process started."""
        with self._lock:
            tallies = tuple(self._tallies.values())
        return tuple(tally.counts() for tally in tallies)

    def _tally(self, shadow: ServedKey, active: ServedKey) -> ShadowTally:
        key = ShadowKey(active, shadow)
        with self._lock:
            return self._tallies.setdefault(key, ShadowTally(key))

    def _retire(self, shadow: Shadow | None) -> None:
        self._ending = [one for one in self._ending if not one.gone]
        if shadow is not None:
            shadow.end()
            self._ending.append(shadow)
