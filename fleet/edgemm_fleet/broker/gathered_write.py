"""One write at a time for all who ask for it: who asks while one runs is served together by the next.

A write reads what it writes after it was asked for, so that nobody's change is missing from what they wait for, and
none is overwritten by an older reading. Between two writes there is a rest, in which requests gather: a broker that
reads its files again holds up its clients.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edgemm.errors import EnvironmentFailure

_REST_TIMES = 4.0
_LONGEST_REST_S = 1.0


class GatheredWrite:
    """Runs `write` for everybody who calls `ask`; safe to use from many threads."""

    def __init__(self, write: Callable[[], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._write, self._monotonic = write, monotonic
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._busy = False
        self.waiting = 0
        """How many callers wait for others."""
        self._failed: tuple[int, EnvironmentFailure] | None = None
        self._rested_s = 0.0

    def ask(self) -> None:
        """Return once a write that began after this call is done.

        Raises:
            EnvironmentFailure: it failed.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            self.waiting += 1
            while self._busy and not self._is_settled(mine):
                self._changed.wait()
            self.waiting -= 1
            if self._is_settled(mine):
                self._tell(mine)
                return
            self._busy = True
        try:
            self._lead()
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _lead(self) -> None:
        time.sleep(max(0.0, self._rested_s - self._monotonic()))
        with self._changed:
            upto = self._asked
        begun_s = self._monotonic()
        try:
            self._write()
        except EnvironmentFailure as err:
            self._failed = upto, err
            raise
        finally:
            now_s = self._monotonic()
            self._rested_s = now_s + min(_LONGEST_REST_S, _REST_TIMES * (now_s - begun_s))
        self._done = upto

    def _is_settled(self, mine: int) -> bool:
        return self._done >= mine or (self._failed is not None and self._failed[0] >= mine)

    def _tell(self, mine: int) -> None:
        if self._done < mine and self._failed is not None:
            raise EnvironmentFailure(str(self._failed[1])) from self._failed[1]
