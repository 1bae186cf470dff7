"""Deadlines: a timer that calls functions at given times, from one thread that exists only while a call is due.

key = deadlines.add(time.monotonic() + 0.2, too_late)
...
deadlines.remove(key)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from itertools import count

from edgemm_runtime.http.exchange import Reply

_log = logging.getLogger(__name__)


class Deadlines:
    """What is due when; safe to use from many threads. There are as many as requests wait or compute, so few."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}
        self._changed = threading.Condition()
        self._keys = count()
        self._running = False

    def add(self, at_s: float, call: Callable[[], None]) -> int:
        """Have a function called at a time of the monotonic clock, unless its key is removed before."""
        with self._changed:
            key = next(self._keys)
            self._due[key] = (at_s, call)
            if self._running:
                self._changed.notify()
            else:
                self._running = True
                threading.Thread(target=self._run, name="edgemm-deadlines", daemon=True).start()
            return key

    def remove(self, key: int) -> None:
        """Forget a call, where it is still to come."""
        with self._changed:
            if self._due.pop(key, None) is not None and not self._due:
                self._changed.notify()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:  # noqa: BLE001 - the thread's boundary: one call's fault ends no other
                _log.exception("a deadline's call failed")

    def _next(self) -> Callable[[], None] | None:
        """Return what is due next once it is, or None where nothing is waited for."""
        with self._changed:
            while self._due:
                key, (at_s, call) = min(self._due.items(), key=lambda item: item[1][0])
                left_s = at_s - time.monotonic()
                if left_s <= 0:
                    del self._due[key]
                    return call
                self._changed.wait(left_s)
            self._running = False
            return None


class OnceAnswered:
    """An answer that is given once: by whoever computed it, or `late` when its time has passed."""

    def __init__(self, deadlines: Deadlines, at_s: float, done: Callable[[Reply], None], *, late: Reply) -> None:
        self._done, self._deadlines = done, deadlines
        self._lock = threading.Lock()
        self.answered = False
        """Whether it has been: what is still to be computed for it need not be."""
        self._key = deadlines.add(at_s, lambda: self.answer(late))

    def answer(self, reply: Reply) -> None:
        """Answer, unless that was done."""
        with self._lock:
            if self.answered:
                return
            self.answered = True
        self._deadlines.remove(self._key)
        self._done(reply)

    def withdraw(self) -> None:
        """Answer nothing any more."""
        with self._lock:
            self.answered = True
        self._deadlines.remove(self._key)
