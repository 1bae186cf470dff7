"""The retention of events and telemetry: how long each is kept, and the thread that takes away what is older.

Windows, and the rows of an hour, are in tables that are dropped as a whole (`store/history`). Of events, and of windows
of before there were such tables, the thread deletes a little at a time, so that devices' messages never wait long for
the one writer. The file does not shrink: later data uses the room. Deleting loses nothing that a device still holds:
the position up to which everything is stored stays noted. A clock that has just gone ahead by more than a day, or that
shows more than a day after the last item came, may be wrong: nothing is deleted by it for a day.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgemm import times
from edgemm.messages import Stream
from edgemm_fleet.clock import SLACK_S
from edgemm_fleet.store import Store, streams
from edgemm_fleet.store.history import parts
from edgemm_fleet.store.history.history_tables import HistoryKind
from edgemm_fleet.worker import Worker

_AT_ONCE = 1000
_EVERY_S = 3600.0
_DAY_S = 86400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """For how many seconds after its arrival each is kept."""

    telemetry_s: float = 30 * _DAY_S
    """The rows of an hour; windows no longer than `windows_s`."""
    events_s: float = 365 * _DAY_S
    windows_s: float = 7 * _DAY_S


class Pruner:
    """Deletes what is too old, at the start and every hour."""

    def __init__(
        self,
        store: Store,
        retention: Retention,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._clock, self._monotonic = store, clock, monotonic
        self._offset_s: float | None = None
        self._held_until_s = 0.0
        self._kept_s = {Stream.TELEMETRY: retention.telemetry_s, Stream.EVENT: retention.events_s}
        self._parts_s = {
            HistoryKind.WINDOWS: min(retention.windows_s, retention.telemetry_s),
            HistoryKind.HEALTH: retention.telemetry_s,
        }
        self._worker = Worker("edgemm-retention", self._step)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self) -> None:
        """End; what is left is deleted after the next start."""
        self._worker.stop()

    def prune(self, stopping: threading.Event | None = None) -> dict[Stream, int]:
        """Take away what is too old now; return how much of each stream was deleted."""
        for kind, kept_s in self._parts_s.items():
            self._drop(kind, kept_s, stopping)
        return {stream: self._prune(stream, kept_s, stopping) for stream, kept_s in self._kept_s.items()}

    def _drop(self, kind: HistoryKind, kept_s: float, stopping: threading.Event | None) -> None:
        now, dropped = self._clock(), True
        while dropped and times.plausible(now) and (stopping is None or not stopping.is_set()):
            with self._store.write() as tx:
                dropped = parts.drop_one(tx, kind, now=now, before=now - kept_s, ahead=now + SLACK_S)
            if dropped:
                _log.info("history_dropped kind=%s", kind)

    def _prune(self, stream: Stream, kept_s: float, stopping: threading.Event | None) -> int:
        now, done = self._clock(), streams.Pruning()
        if not times.plausible(now):
            return 0  # by a clock of 2040 all would be too old
        before, ahead = now - kept_s, now + SLACK_S
        while not done.over and (stopping is None or not stopping.is_set()):
            with self._store.write() as tx:
                done = streams.prune(tx, stream, done, before=before, ahead=ahead, limit=_AT_ONCE)
        if done.deleted:
            _log.info("pruned stream=%s items=%d", stream.value, done.deleted)
        return done.deleted

    def _step(self, stopping: threading.Event) -> None:
        if self.may_prune():
            self.prune(stopping)
        stopping.wait(_EVERY_S)

    def may_prune(self) -> bool:
        """Tell whether the clock is one to delete by: it did not go ahead by more than a day within the last day."""
        now, monotonic_s = self._clock(), self._monotonic()
        if self._offset_s is None:
            with self._store.read() as tx:
                newest = streams.newest_at(tx, ahead=now + SLACK_S)
            leapt_s = 0.0 if newest is None else now - newest
        else:
            leapt_s = now - monotonic_s - self._offset_s
        self._offset_s = now - monotonic_s
        if leapt_s > _DAY_S:
            self._held_until_s = monotonic_s + _DAY_S
            _log.warning("pruning_put_off for a day, the clock may be ahead by=%s", times.span(leapt_s))
        return monotonic_s >= self._held_until_s
