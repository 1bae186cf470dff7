"""The watch for models that hang: gives them up, so that requests that wait behind them go on elsewhere.

It also lets sequences go that are idle: it is what looks at all models, whether somebody asks them or not.

A thread inside native code cannot be ended. It is left behind, the part of the model that it holds is replaced, and its
client is answered 504. A thread is looked at twice first, since one look may fall into a pause of the whole machine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edgemm_runtime.models.registry import ModelRegistry

_log = logging.getLogger(__name__)
_LOOK_S = 0.2


class HangWatch:
    """Looks at all models of a registry; `give_up(thread)` is called once for each thread that hangs in one."""

    def __init__(self, models: ModelRegistry, give_up: Callable[[int], None], *, look_s: float = _LOOK_S) -> None:
        self._models, self._give_up, self._look_s = models, give_up, look_s
        self._stopping = threading.Event()
        self._suspects: dict[int, float] = {}
        self.hangs = 0
        """How many threads were left behind since the process started."""
        self._thread = threading.Thread(target=self._run, name="edgemm-hangs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def look(self, now_s: float) -> None:
        """Look once; `now_s` is monotonic."""
        suspects = {}
        for served in self._models.in_use():
            if served.sequences is not None:
                served.sequences.expire()
            for thread in served.overdue(now_s):
                first_s = self._suspects.get(thread)
                if first_s is None:
                    suspects[thread] = now_s
                    continue
                served.give_up(thread, waited_s=now_s - first_s)
                self.hangs += 1
                self._give_up(thread)
        self._suspects = suspects

    def _run(self) -> None:
        while not self._stopping.wait(self._look_s):
            try:
                self.look(time.monotonic())
            except Exception:  # noqa: BLE001 - the thread's boundary: without it no hang would be seen again
                _log.exception("cannot look for hangs")
