"""The watch for models that hang: gives them up, so that requests that wait behind them go on elsewhere.

It also lets sequences go that are idle: it is what looks at all models, whether somebody asks them or not.

A thread inside native code cannot be ended. It is left behind, the part of the model that it holds is replaced, and its
client is answered 504. Its time is what it had of the machine (`patience`), by a clock that stands still while this
process does: looks that come late tell so.

A thread that waits for what never comes is the model's fault. One that computes may be at values that take a minute:
then the model is asked for what it answered before, and is to blame only where it does not answer that either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cache

from edgemm.errors import EdgemmError
from edgemm_runtime.board.thread_times import ThreadsSeen, own_waited_s, threads_seen
from edgemm_runtime.engines import pool
from edgemm_runtime.engines.hang_time import Had, spent
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.served_model import ServedModel

_log = logging.getLogger(__name__)
_LOOK_S = 0.1
_ANSWER_S, _ANSWER_RATIO = 1.5, 20


class HangWatch:
    """Looks at all models of a registry; `give_up(thread)` is called once for each thread that hangs in one."""

    def __init__(self, models: ModelRegistry, give_up: Callable[[int], None], *, look_s: float = _LOOK_S) -> None:
        self._models, self._give_up, self._look_s = models, give_up, look_s
        self._stopping = threading.Event()
        self._looked_s, self._turned_s, self._waited_s = time.monotonic(), 0.0, 0.0
        self._inquiries: list[_Inquiry] = []
        self._left: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="edgemm-hangs", daemon=True)
        self._thread.start()

    @property
    def hangs(self) -> int:
        """How many threads were left behind in models that hang, and have not come back."""
        self._left = [thread for thread in self._left if thread.is_alive()]
        return len(self._left)

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def look(self, now_s: float) -> None:
        """Look once; `now_s` is monotonic."""
        waited_s = own_waited_s()
        self._turned_s += _turned_s(now_s - self._looked_s, self._look_s, waited_s - self._waited_s)
        self._looked_s, self._waited_s = now_s, waited_s
        look = cache(self._threads)
        self._inquiries = [inquiry for inquiry in self._inquiries if not self._is_over(inquiry, look)]
        inquiring = {inquiry.thread.ident for inquiry in self._inquiries}
        for served in self._models.in_use():
            if served.sequences is not None:
                served.sequences.expire()
            for thread, had in served.overdue(look).items():
                if thread not in inquiring:
                    self._leave(served, thread, had)

    def _leave(self, served: ServedModel, thread: int, had: Had) -> None:
        left = [one for one in threading.enumerate() if one.ident == thread]
        if had.computes:
            _log.warning("an inference takes too long and is given up model=%s after_s=%.1f", served.name, had.had_s)
            known = next((one for one in self._inquiries if one.served is served), None)
            if known is None:
                self._inquiries.append(known := _Inquiry(served))
            known.about.append((left, had.had_s))
        else:
            self._blame(served, left, had.had_s)
        self._give_up(thread)  # before the engine, which may come back with an error of its own at once
        served.give_up(thread)

    def _blame(self, served: ServedModel, left: list[threading.Thread], waited_s: float) -> None:
        served.count_hang(waited_s)
        self._left += left

    def _is_over(self, inquiry: _Inquiry, look: Callable[[], ThreadsSeen]) -> bool:
        """Follow an inquiry; tell whether it has ended, or hangs itself. Then the model is to blame."""
        answers = inquiry.follow(look)
        if answers is None:
            return False
        if not answers:
            for left, waited_s in inquiry.about:
                self._blame(inquiry.served, left, waited_s)
            if inquiry.thread.ident is not None and inquiry.thread.is_alive():
                inquiry.served.give_up(inquiry.thread.ident)
                self._left.append(inquiry.thread)
        return True

    def _threads(self) -> ThreadsSeen:
        return threads_seen(self._turned_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._look_s):
            try:
                self.look(time.monotonic())
            except Exception:  # noqa: BLE001 - the thread's boundary: without it no hang would be seen again
                _log.exception("cannot look for hangs")


class _Inquiry:
    """What a model answered before on its way through it, since an inference goes on for too long."""

    def __init__(self, served: ServedModel) -> None:
        self.served, self._answers = served, True
        self.about: list[tuple[list[threading.Thread], float]] = []
        self._had = Had()
        self._seen: ThreadsSeen | None = None
        self._limit_s = max(_ANSWER_S, _ANSWER_RATIO * served.model.usual_s)
        self.thread = threading.Thread(target=self._ask, name="edgemm-inquiry", daemon=True)
        self.thread.start()

    def follow(self, look: Callable[[], ThreadsSeen]) -> bool | None:
        """Return whether the model answers; None where that is not told yet."""
        if not self.thread.is_alive():
            return self._answers
        seen, before, ident = look(), self._seen, self.thread.ident or 0
        self._seen = seen
        if before is not None and not pool.waits(ident):
            self._had += spent(before, seen, ident)
        return False if self._had.had_s > self._limit_s else None

    def _ask(self) -> None:
        try:
            self._answers = self.served.model.loaded.well()
        except EdgemmError as err:
            _log.warning("cannot tell whether a model hangs model=%s error=%s", self.served.name, err)


def _turned_s(elapsed_s: float, look_s: float, waited_s: float) -> float:
    """Return for how much of the time since the last look this process turned.

    A look that is late by more than its thread waited for a CPU tells that the process stood still: it was stopped,
    or something held the interpreter. It did so before the look was due as well, perhaps for as long.
    """
    stood_s = max(0.0, elapsed_s - look_s - waited_s)
    return max(0.0, elapsed_s - 2 * stood_s)
