"""An outage of the database, told in the log at once and then each minute, and its end; for any thread.

Where only some transactions fail, as with too few connections, there is one line a minute of each, with a count.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.worker import RecurringFault, ToldFailure

_log = logging.getLogger(__name__)
_OF_DATABASE = (SQLAlchemyError, UnicodeDecodeError)
"""Causes of failures that are the database's."""
_LASTS_S = 5.0


class Availability:
    """Whether a kind of transaction, such as those that write, works at present."""

    def __init__(self, database: str, kind: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database, self._kind, self._monotonic = database, kind, monotonic
        self._lock = threading.Lock()
        self._failing_since_s: float | None = None
        self._fault, self._is_told = RecurringFault(monotonic=monotonic), False
        self._first_s, self._last_s = 0.0, float("-inf")
        """When the present run of failures began, and when the last of them was."""
        self._works_now = True
        self.error = ""
        """What went wrong last."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the log if what is done here meets an outage, or is the first that does not any more."""
        try:
            yield
        except ToldFailure as err:
            self._fails(err)
            raise
        except EnvironmentFailure as err:
            if isinstance(err.__cause__, _OF_DATABASE):
                self._note(err)
            raise
        if self._failing_since_s is not None:
            self._works()
        self._works_now = True

    def failing_s(self) -> float | None:
        """Return for how long some or all of this kind have failed; None where it works.

        On a full disk, what changes nothing goes on to work: a success ends no failures before some time is over.
        """
        now_s = self._monotonic()
        return None if self._works_now and now_s - self._last_s > _LASTS_S else now_s - self._first_s

    def _note(self, err: EnvironmentFailure) -> None:
        now_s = self._monotonic()
        if now_s - self._last_s > _LASTS_S and self._works_now:
            self._first_s = now_s
        self._last_s, self._works_now, self.error = now_s, False, str(err)

    def _fails(self, err: ToldFailure) -> None:
        with self._lock:
            self._note(err)
            if self._failing_since_s is None:
                self._failing_since_s, self._is_told = self._monotonic(), False
            times = self._fault.came()
            self._is_told |= times is not None
        if times is not None:
            _log.error("database_fails kind=%s error=%s times=%d; the manager goes on trying", self._kind, err, times)

    def _works(self) -> None:
        with self._lock:
            if self._failing_since_s is None:
                return
            lasted_s, self._failing_since_s = self._monotonic() - self._failing_since_s, None
        if self._is_told:
            _log.warning("database_back kind=%s database=%s after=%.0f s", self._kind, self._database, lasted_s)
