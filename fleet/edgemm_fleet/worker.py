"""A worker thread: repeats one step until it is stopped, and goes on after a step that failed."""

from __future__ import annotations

import logging
import threading
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
        self._step = step
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

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
            except ToldFailure:
                self._stopping.wait(_PAUSE_S)
            except EdgemmError as err:
                _log.error("worker=%s error=%s", self._thread.name, err)
                self._stopping.wait(_PAUSE_S)
            except Exception:  # noqa: BLE001 - a thread's boundary: the manager must not go on without this thread
                _log.exception("worker=%s failed", self._thread.name)
                self._stopping.wait(_PAUSE_S)
