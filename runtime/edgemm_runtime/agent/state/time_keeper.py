"""The device's clocks, and the trusted time that is kept on disk so that it only rises."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from edgemm import times
from edgemm.errors import EnvironmentFailure
from edgemm_runtime.agent.state.documents import TimeFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.trusted_time import TrustedTime, trusted_time

_log = logging.getLogger(__name__)
_NAME = "time.json"


class Clock(msgspec.Struct, frozen=True):
    """System clock (seconds since the epoch) and monotonic clock (seconds since some start)."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class TimeKeeper:
    """Trusted time over a state folder; safe to use from many threads."""

    def __init__(self, folder: StateFolder, clock: Clock, *, persist_s: float) -> None:
        self._folder, self._clock, self._persist_s = folder, clock, persist_s
        self._lock = threading.Lock()
        kept = folder.read(_NAME, TimeFile)
        self._kept_s = float(times.from_text(kept.trusted)) if kept else 0.0
        self._last_s = self._kept_s
        self._known = self._kept_s > 0 or _NAME in folder.put_aside

    def now(self) -> TrustedTime:
        """Return the trusted time; written to disk when it rose by enough since the last write."""
        with self._lock:
            found = trusted_time(self._clock.wall(), last_s=self._last_s)
            self._last_s = found.seconds
            if found.seconds - self._kept_s >= self._persist_s:
                self._persist(found.seconds)
            return found

    def believed_s(self) -> float | None:
        """Return the trusted time in seconds since the epoch, None where the clock is not to be believed; no write."""
        found = trusted_time(self._clock.wall(), last_s=self._last_s)
        return found.seconds if found.clock_synced else None

    @property
    def known(self) -> bool:
        """Whether a trusted time lies on disk, or did: this is not the first start."""
        return self._known

    def keep(self) -> TrustedTime:
        """Return the trusted time, and write it to disk whenever that was done last."""
        found = self.now()
        with self._lock:
            if found.seconds > self._kept_s:
                self._persist(found.seconds)
        return found

    def _persist(self, seconds: float) -> None:
        try:
            self._folder.write(_NAME, TimeFile(trusted=times.to_text(seconds)))
        except EnvironmentFailure as err:
            _log.warning("trusted time not kept error=%s", err)
            return
        self._kept_s, self._known = seconds, True
