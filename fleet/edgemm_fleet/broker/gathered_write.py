"""One write at a time for all who ask for it: who asks while one runs is served together by the next.

A write reads what it writes after it was asked for, so that nobody's change is missing from what they wait for, and
none is overwritten by an older reading. Between two writes there is a rest, in which requests gather: a broker that
reads its files again holds up its clients. Writes are in a thread of their own, which is there while anybody waits, so
that thousands may wait without one each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from edgemm.errors import EnvironmentFailure

_REST_TIMES = 4.0
_LONGEST_REST_S = 1.0
Told = Callable[[EnvironmentFailure | None], None]
"""Called once a write that began after the request is done; with the reason where it failed."""


class GatheredWrite:
    """Runs `write` for everybody who asks; safe to use from many threads."""

    def __init__(self, write: Callable[[], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._write, self._monotonic = write, monotonic
        self._lock = threading.Lock()
        self._asked: list[Told] = []
        self._busy = False
        self._rested_s = 0.0

    @property
    def waiting(self) -> int:
        """How many wait for a write that has not begun."""
        with self._lock:
            return len(self._asked)

    def ask(self) -> None:
        """Return once a write that began after this call is done.

        Raises:
            EnvironmentFailure: it failed.
        """
        done: Future[EnvironmentFailure | None] = Future()
        self.tell(done.set_result)
        if (failure := done.result()) is not None:
            raise EnvironmentFailure(str(failure)) from failure

    def tell(self, told: Told) -> None:
        """Have `told` called once a write that begins after this call is done; returns at once."""
        with self._lock:
            self._asked.append(told)
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._work, name="edgemm-gathered-write", daemon=True).start()

    def _work(self) -> None:
        while True:
            time.sleep(max(0.0, self._rested_s - self._monotonic()))
            with self._lock:
                served, self._asked = self._asked, []
                if not served:
                    self._busy = False
                    return
            failure: EnvironmentFailure | None = EnvironmentFailure("the broker's logins were not written: see the log")
            begun_s = self._monotonic()
            try:
                self._write()
                failure = None
            except EnvironmentFailure as err:
                failure = err
            finally:  # of a fault of ours this thread ends, and those who wait are told all the same
                now_s = self._monotonic()
                self._rested_s = now_s + min(_LONGEST_REST_S, _REST_TIMES * (now_s - begun_s))
                for told in served:
                    told(failure)
