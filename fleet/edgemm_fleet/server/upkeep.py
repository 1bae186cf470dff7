"""The upkeep of a running manager: it signs anew what expires, follows changes of its folder, and warns of what ends.

A command on the server changes the folder of a running manager: keys, certificate, addresses. The manager looks every
second, by the files' times alone, and takes up what changed.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemm import times
from edgemm.errors import EdgemmError
from edgemm_fleet.api.context import moment
from edgemm_fleet.clock import PROVEN_S, ManagerClock
from edgemm_fleet.trust.fleet_expiries import FleetExpiries
from edgemm_fleet.trust.version_repository import VersionRepository

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0
_REFRESH_EVERY_S = 60.0
_AGAIN_S = 60.0
"""After so long what failed is tried again."""
_WARN_EVERY_S = 86_400.0


class Watched:
    """Some files, and what to do at the first look, and whenever one of them was replaced."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None]) -> None:
        self._paths, self._changed = paths, changed
        self._failed_s = -math.inf
        self._seen: tuple[tuple[int, int] | None, ...] = ()

    def check(self) -> None:
        """Act if a file is another one than at the last look; where acting fails, it is tried again in a minute."""
        found = self._look()
        if found == self._seen or time.monotonic() < self._failed_s + _AGAIN_S:
            return
        try:
            self._changed()
        except EdgemmError as err:
            self._failed_s = time.monotonic()
            _log.error("changed files not taken up files=%s error=%s", [path.name for path in self._paths], err)
        else:
            self._seen = found

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_identity(path) for path in self._paths)


@dataclass
class Upkeep:
    """The step of the thread that does it all."""

    repository: VersionRepository
    expiries: FleetExpiries
    watched: Sequence[Watched]
    clock: ManagerClock
    look_at_s: float = 0.0
    refresh_at_s: float = 0.0
    warn_at_s: float = 0.0

    def step(self, stopping: threading.Event) -> None:
        """Look once, after a pause."""
        stopping.wait(_LOOK_EVERY_S)
        now, elapsed_s = self.clock(), time.monotonic()
        if not times.plausible(now):
            return  # which the manager's own clock thread tells
        if elapsed_s >= self.look_at_s and self.repository.is_stale():
            self.look_at_s = elapsed_s + _AGAIN_S
            self.repository.catch_up(now=moment(now))
            self.look_at_s = 0.0
        for one in self.watched:
            one.check()
        if elapsed_s >= self.refresh_at_s:
            self.refresh_at_s = elapsed_s + _REFRESH_EVERY_S
            self.repository.refresh(now=moment(now), reissue=self.clock.lasted_s() >= PROVEN_S)
        if elapsed_s >= self.warn_at_s:
            self.warn_at_s = elapsed_s + _WARN_EVERY_S
            self.warn(now)

    def warn(self, now: float) -> None:
        """Log what ended or ends within 30 days."""
        for one in self.expiries.near(now=now):
            at = times.to_text(one.ends_at)
            _log.warning("ends_soon what=%r which=%r at=%s next=%r", one.kind, one.name, at, one.advice)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
