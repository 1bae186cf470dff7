"""The retention of events and telemetry: how long each is kept, and the thread that deletes what is older.

The thread deletes a little at a time, so that devices' messages never wait long for the one writer. The file does not
shrink: later data uses the room. Deleting loses nothing that a device still holds: the position up to which everything
is stored stays noted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgemm import times
from edgemm.messages import Stream
from edgemm_fleet.store import Store, streams
from edgemm_fleet.worker import Worker

_AT_ONCE = 1000
_EVERY_S = 3600.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """For how many seconds after its arrival each is kept."""

    telemetry_s: float = 30 * 86400.0
    events_s: float = 365 * 86400.0


class Pruner:
    """Deletes what is too old, at the start and every hour."""

    def __init__(self, store: Store, retention: Retention, *, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._kept_s = {Stream.TELEMETRY: retention.telemetry_s, Stream.EVENT: retention.events_s}
        self._worker = Worker("edgemm-retention", self._step)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self) -> None:
        """End; what is left is deleted after the next start."""
        self._worker.stop()

    def prune(self, stopping: threading.Event | None = None) -> dict[Stream, int]:
        """Delete what is too old now; return how much of each stream that was."""
        return {stream: self._prune(stream, kept_s, stopping) for stream, kept_s in self._kept_s.items()}

    def _prune(self, stream: Stream, kept_s: float, stopping: threading.Event | None) -> int:
        now, deleted = self._clock(), 0
        if not times.plausible(now):
            return 0  # by a clock of 2040 all would be too old
        before = now - kept_s
        while stopping is None or not stopping.is_set():
            with self._store.write() as tx:
                number = streams.prune(tx, stream, before=before, limit=_AT_ONCE)
            deleted += number
            if number < _AT_ONCE:
                break
        if deleted:
            _log.info("pruned stream=%s items=%d", stream.value, deleted)
        return deleted

    def _step(self, stopping: threading.Event) -> None:
        self.prune(stopping)
        stopping.wait(_EVERY_S)
