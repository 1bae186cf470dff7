"""An outage of the database, told once in the log, and its end; for any thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgemm_fleet.worker import ToldFailure

_log = logging.getLogger(__name__)


class Availability:
    """Whether a kind of transaction, such as those that write, works at present."""

    def __init__(self, database: str, kind: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database, self._kind, self._monotonic = database, kind, monotonic
        self._lock = threading.Lock()
        self._failing_since_s: float | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the log if what is done here meets an outage, or is the first that does not any more."""
        try:
            yield
        except ToldFailure as err:
            self._fails(err)
            raise
        if self._failing_since_s is not None:
            self._works()

    def _fails(self, err: ToldFailure) -> None:
        with self._lock:
            if self._failing_since_s is not None:
                return
            self._failing_since_s = self._monotonic()
        _log.error("database_fails kind=%s error=%s; the manager goes on trying", self._kind, err)

    def _works(self) -> None:
        with self._lock:
            if self._failing_since_s is None:
                return
            lasted_s, self._failing_since_s = self._monotonic() - self._failing_since_s, None
        _log.warning("database_back kind=%s database=%s after=%.0f s", self._kind, self._database, lasted_s)
