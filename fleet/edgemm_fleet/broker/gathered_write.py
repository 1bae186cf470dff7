"""One write at a time for all who ask for it: who asks while one runs is served together by the next.

A write reads what it writes after it was asked for, so that nobody's change is missing from what they wait for, and
none is overwritten by an older reading. Between two writes there is a rest, in which requests gather: a broker that
reads its files again holds up its clients. Writes are in a thread of their own, which is there while anybody waits, so
that thousands may wait without one each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

from edgemm.errors import EnvironmentFailure

_log = logging.getLogger(__name__)
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
        try:
            threading.Thread(target=self._work, name="edgemm-gathered-write", daemon=True).start()
        except RuntimeError as err:  # there are as many threads as this machine lets there be
            with self._lock:
                served, self._asked, self._busy = self._asked, [], False
            _tell(served, EnvironmentFailure(f"the broker's logins were not written: {err}; try again"))

    def _work(self) -> None:
        while True:
            time.sleep(max(0.0, self._rested_s - self._monotonic()))
            with self._lock:
                served, self._asked = self._asked, []
                if not served:
                    self._busy = False
                    return
            begun_s = self._monotonic()
            failure = _failure_of(self._write)
            now_s = self._monotonic()
            self._rested_s = now_s + min(_LONGEST_REST_S, _REST_TIMES * (now_s - begun_s))
            _tell(served, failure)


def _tell(served: Iterable[Told], failure: EnvironmentFailure | None) -> None:
    for told in served:
        _failure_of(partial(told, failure))  # one who cannot be told keeps nobody else from it


def _failure_of(act: Callable[[], object]) -> EnvironmentFailure | None:
    """Do something; return why it was not done."""
    try:
        act()
    except EnvironmentFailure as err:
        return err
    except Exception:  # noqa: BLE001 - the boundary of a thread that all who enrol wait for: it must serve the next ones
        _log.exception("logins_not_written")
        return EnvironmentFailure("the broker's logins were not written: see the log")
    return None
