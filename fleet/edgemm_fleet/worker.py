"""A worker thread: repeats one step until it is stopped, and goes on after a step that failed."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable

from edgemm.errors import EdgemmError, UnreachableError

_PAUSE_S = 1.0
_TOLD_EVERY_S = 60.0
_MOST_KINDS = 100
_NUMBER = re.compile(r"\d+")
"""What differs in what is said of one fault."""
_STOP_TIMEOUT_S = 30.0
_log = logging.getLogger(__name__)


class ToldFailure(UnreachableError):  # noqa: N818 - as EnvironmentFailure
    """Something is out of reach or unfit, which the log was told once by its own module: others say nothing of it."""


class RecurringFault:
    """A fault that goes on: told at once, and then each minute with how often it came; for any thread."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._lock = monotonic, threading.Lock()
        self._told_s: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def came(self, kind: str = "") -> int | None:
        """Note that it came; return how often since it was last told, where it is to be told now."""
        with self._lock:
            now_s = self._monotonic()
            if kind not in self._told_s and len(self._told_s) >= _MOST_KINDS:
                self._told_s.clear()
                self._untold.clear()
            self._untold[kind] += 1
            if now_s - self._told_s.get(kind, float("-inf")) < _TOLD_EVERY_S:
                return None
            self._told_s[kind] = now_s
            return self._untold.pop(kind)


class Worker:
    """Calls `step` until `stop`; a step blocks as long as it likes, but ends soon once its event is set."""

    def __init__(self, name: str, step: Callable[[threading.Event], None]) -> None:
        self._step, self.name = step, name
        self._done_s = time.monotonic()
        self._failing_since_s: float | None = None
        self._fault = RecurringFault()
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
                if (times := self._fault.came(_NUMBER.sub("", str(err)))) is not None:
                    _log.error("worker_failed worker=%s times=%d error=%s", self.name, times, err)
                self._failed(str(err))
            except Exception as err:  # noqa: BLE001 - a thread's boundary: the manager must not go on without this thread
                if (times := self._fault.came(_NUMBER.sub("", repr(err)))) is not None:
                    _log.exception("worker_failed worker=%s times=%d", self.name, times)
                self._failed(type(err).__name__)

    def _failed(self, error: str) -> None:
        self.error = error
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        self._stopping.wait(_PAUSE_S)
