"""The shadows of one process: at most one beside each model, and the counters of all that ever ran."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from edgemm_runtime.serving.counters import ServedKey
from edgemm_runtime.shadow.limits import ShadowLimits
from edgemm_runtime.shadow.shadow import Candidate, Shadow, ShadowState
from edgemm_runtime.shadow.tally import ShadowCounts, ShadowKey, Tally


@dataclass(frozen=True)
class ShadowStatus:
    """One shadow as it is now: where it stands and why, and what errors of each output's values are a share of."""

    candidate: Candidate
    state: ShadowState
    reason: str
    ranges: dict[str, float]


class ShadowBoard:
    """Starts and stops shadows; safe to use from many threads."""

    def __init__(self, limits: ShadowLimits | None = None) -> None:
        self._limits = limits or ShadowLimits()
        self._lock = threading.Lock()
        self._shadows: dict[str, Shadow] = {}
        self._tallies: dict[ShadowKey, Tally] = {}

    def put(self, candidate: Candidate) -> Shadow:
        """Run a candidate beside the model of its name, in place of what ran there; the same one goes on."""
        name = candidate.key.name
        with self._lock:
            before = self._shadows.get(name)
            if before is not None and before.candidate == candidate:
                return before
            shadow = Shadow(candidate, self._limits, tally=partial(self._tally, candidate.key))
            self._shadows[name] = shadow
        if before is not None:
            before.stop()
        return shadow

    def remove(self, name: str) -> None:
        """Stop the shadow beside a model, if there is one; its counters stay."""
        with self._lock:
            shadow = self._shadows.pop(name, None)
        if shadow is not None:
            shadow.stop()

    def close(self) -> None:
        """Stop all shadows."""
        with self._lock:
            names = list(self._shadows)
        for name in names:
            self.remove(name)

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

    def _tally(self, shadow: ServedKey, active: ServedKey) -> Tally:
        key = ShadowKey(active, shadow)
        with self._lock:
            return self._tallies.setdefault(key, Tally(key))
