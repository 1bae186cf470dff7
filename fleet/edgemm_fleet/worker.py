"""A worker thread: repeats one step until it is stopped, and goes on after a step that failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edgemm.errors import EdgemmError, UnreachableError

_PAUSE_S = 1.0
_STOP_TIMEOUT_S = 30.0
_log = logging.getLogger(__name__)


class ToldFailure(UnreachableError):  # noqa: N818 - as EnvironmentFailure
    """Something is out of reach or unfit, which the log was told once by its own module: others say nothing of it."""


class Worker:
    """Calls `step` until `stop`; a step blocks as long as it likes, but ends soon once its event is set."""

    def __init__(self, name: str, step: Callable[[threading.Event], None]) -> None:
        self._step, self.name = step, name
        self._done_s = time.monotonic()
        self._failing_since_s: float | None = None
        self.error = ""
        """What the last step that failed said."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def quiet_s(self) -> float:
        """Return how long ago a step was done last, or the thread was made."""
        return time.monotonic() - self._done_s

    def failing_s(self) -> float | None:
        """Return since how long no step has been done but failed ones; None where the last one was done."""
        since_s = self._failing_since_s
        return None if since_s is None else time.monotonic() - since_s

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Set the event that steps watch; returns at once."""
        self._stopping.set()

    def stop(self) -> None:
        """Ask the thread to end, and wait for it."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step(self._stopping)
                self._done_s, self._failing_since_s = time.monotonic(), None
            except ToldFailure as err:
                self._failed(str(err))
            except EdgemmError as err:
                _log.error("worker_failed worker=%s error=%s", self.name, err)
                self._failed(str(err))
            except Exception as err:  # noqa: BLE001 - a thread's boundary: the manager must not go on without this thread
                _log.exception("worker_failed worker=%s", self.name)
                self._failed(type(err).__name__)

    def _failed(self, error: str) -> None:
        self.error = error
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        self._stopping.wait(_PAUSE_S)
