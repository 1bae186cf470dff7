"""The thread that keeps Mosquitto's files as they are to be, whatever became of them, of Mosquitto or of a reload.

It has them written anew where somebody removed, cut short or took over one of them, where the broker refuses the
manager (it may have read an older file, in whichever order both were started), and where other devices are to be shut
out.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from edgemm.errors import EnvironmentFailure
from edgemm.transport.backoff import Backoff
from edgemm_fleet.broker.mosquitto import MosquittoCredentials
from edgemm_fleet.worker import Worker

_POLL_S = 0.5
_AGAIN = Backoff(first_s=2.0, max_s=60.0)


class LoginKeeper:
    """Looks at `cut_off` (who is shut out now) and `refusals` (how often the broker refused the manager)."""

    def __init__(
        self,
        credentials: MosquittoCredentials,
        *,
        cut_off: Callable[[], frozenset[str]],
        refusals: Callable[[], int],
        told: Callable[[frozenset[str]], None],
    ) -> None:
        self._credentials, self._cut_off, self._refusals, self._told = credentials, cut_off, refusals, told
        self._seen: tuple[frozenset[str], int] = (frozenset(), 0)
        self._failures = 0
        self._wake = threading.Event()
        self.worker = Worker("edgemm-logins", self._step)

    def start(self) -> None:
        """Begin to look."""
        self.worker.start()

    def stop(self) -> None:
        """End."""
        self.worker.ask_to_stop()
        self._wake.set()
        self.worker.stop()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def _step(self, stopping: threading.Event) -> None:
        self._wake.wait(_POLL_S)
        self._wake.clear()
        before, now = self._seen, (self._cut_off(), self._refusals())
        if stopping.is_set() or (now == before and self._credentials.intact):
            return
        try:
            self._credentials.refresh()
        except EnvironmentFailure:
            self._failures += 1
            stopping.wait(_AGAIN.delay_s(self._failures, draw=random.random()))  # noqa: S311 - spreads load only
            raise  # the worker logs it and comes back
        self._failures, self._seen = 0, now
        if shut_out := now[0] - before[0]:
            self._told(shut_out)
