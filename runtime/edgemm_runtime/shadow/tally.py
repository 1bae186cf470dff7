"""The tally of a shadow: counters of its samples, for each pair of models, since the process started."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import msgspec

from edgemm_runtime.identity import ServedKey
from edgemm_runtime.shadow.agreement import Agreement, merge
from edgemm_runtime.shadow.shadow_protocol import BurstAnswer


class ShadowKey(msgspec.Struct, frozen=True):
    """What is compared with what."""

    active: ServedKey
    shadow: ServedKey


class ShadowCounts(msgspec.Struct, frozen=True):
    """Counters of one pair; they only rise.

    Of the `sampled` requests, the shadow answered `compared`, failed on `errors`, and was not asked about `dropped`;
    the rest still wait. `crashes` are ends of its process that nobody wanted.
    """

    key: ShadowKey
    sampled: int = 0
    compared: int = 0
    errors: int = 0
    dropped: int = 0
    crashes: int = 0
    agreement: Mapping[str, Agreement] = msgspec.field(default_factory=dict)


class ShadowTally:
    """Counters of one pair; safe to use from many threads."""

    def __init__(self, key: ShadowKey) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._sampled = self._compared = self._errors = self._dropped = self._crashes = 0
        self._agreement: dict[str, Agreement] = {}

    def sample(self, *, dropped: bool = False) -> None:
        """Count one request that was chosen."""
        with self._lock:
            self._sampled += 1
            self._dropped += dropped

    def drop(self, samples: int) -> None:
        """Count samples that waited and that nobody will answer."""
        with self._lock:
            self._dropped += samples

    def crash(self, lost_samples: int) -> None:
        """Count an end of the shadow's process, with what it was computing."""
        with self._lock:
            self._crashes += 1
            self._dropped += lost_samples

    def answered(self, answer: BurstAnswer) -> None:
        """Count what came of a burst."""
        with self._lock:
            self._compared += answer.compared
            self._errors += answer.errors
            self._agreement = merge(self._agreement, answer.agreement)

    def counts(self) -> ShadowCounts:
        """Return the counters as they are now."""
        with self._lock:
            return ShadowCounts(
                self.key,
                sampled=self._sampled,
                compared=self._compared,
                errors=self._errors,
                dropped=self._dropped,
                crashes=self._crashes,
                agreement=dict(self._agreement),
            )
