"""The device's clocks, and the trusted time that is kept on disk, so that a start does not lower it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec
from msgspec import UNSET

from edgemm import times
from edgemm.errors import EnvironmentFailure
from edgemm.reasons import Reason
from edgemm_runtime.agent.state.documents import TimeFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.trusted_time import TimeMemory, TrustedTime, clock_trouble, stated, trusted_time

_log = logging.getLogger(__name__)
_NAME = "time.json"
_LEAP_S = 86400.0
"""A system clock that goes ahead by more than that at once, while the agent runs, is worth a question."""


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
        self._memory = _remembered(kept)
        self._kept_s = self._memory.last_s
        self._known = self._kept_s > 0 or _NAME in folder.put_aside
        self._offset_s = clock.wall() - clock.monotonic()

    def now(self) -> TrustedTime:
        """Return the trusted time; written to disk when it rose by enough since the last write."""
        with self._lock:
            found = self._found()
            self._memory = msgspec.structs.replace(self._memory, last_s=found.seconds)
            if found.seconds - self._kept_s >= self._persist_s:
                self._persist()
            return found

    def believed_s(self) -> float | None:
        """Return the trusted time in seconds since the epoch, None where the clock is not to be believed; no write."""
        found = self._found()
        return found.seconds if found.clock_synced else None

    @property
    def known(self) -> bool:
        """Whether a trusted time lies on disk, or did: this is not the first start."""
        return self._known

    @property
    def memory(self) -> TimeMemory:
        """What is remembered of time."""
        return self._memory

    def shown_s(self) -> float:
        """Return what the system clock shows, in seconds since the epoch."""
        return self._clock.wall()

    def trouble(self) -> Reason | None:
        """Return why the system clock is not believed now; None where it is."""
        return clock_trouble(self._clock.wall(), self._memory)

    def leapt(self) -> bool:
        """Tell, once, that the system clock has gone ahead by more than a day since this was asked before."""
        offset_s = self._clock.wall() - self._clock.monotonic()
        before_s, self._offset_s = self._offset_s, offset_s
        return offset_s - before_s > _LEAP_S

    def keep(self) -> TrustedTime:
        """Return the trusted time, and write it to disk whenever that was done last."""
        found = self.now()
        with self._lock:
            if found.seconds > self._kept_s:
                self._persist()
        return found

    def hear(self, fleet_s: float, *, least_s: float) -> float:
        """Take a statement of the fleet's time over, as `trusted_time.stated`; return by how many seconds it lowered.

        What it changes is written to disk at once.
        """
        with self._lock:
            system_s, before = self._clock.wall(), self._memory
            self._memory = stated(before, fleet_s=fleet_s, system_s=system_s, least_s=least_s)
            if self._memory != before:
                self._persist()
            return before.last_s - self._memory.last_s

    def _found(self) -> TrustedTime:
        return trusted_time(self._clock.wall(), last_s=self._memory.last_s, ahead_s=self._memory.ahead_s)

    def _persist(self) -> None:
        memory = self._memory
        document = TimeFile(
            trusted=times.to_text(memory.last_s),
            ahead_s=int(memory.ahead_s) if memory.ahead_s > 0 else UNSET,
            since=times.to_text(memory.since_s) if memory.since_s > 0 else UNSET,
        )
        try:
            self._folder.write(_NAME, document)
        except EnvironmentFailure as err:
            _log.warning("trusted time not kept error=%s", err)
            return
        self._kept_s, self._known = memory.last_s, True


def _remembered(kept: TimeFile | None) -> TimeMemory:
    if kept is None:
        return TimeMemory()
    try:
        trusted_s, since_s = times.from_text(kept.trusted), 0 if kept.since is UNSET else times.from_text(kept.since)
    except ValueError as err:
        _log.error("state damaged file=%s error=%s", _NAME, err)
        return TimeMemory()
    return TimeMemory(float(trusted_s), 0.0 if kept.ahead_s is UNSET else float(kept.ahead_s), float(since_s))
