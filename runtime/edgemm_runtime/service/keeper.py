"""The keeper of the systemd watchdog: a thread that tells the service manager how this process is.

    with keeping(Notifier.from_environment(os.environ), registry, sources):
        ...

READY=1 is said when every model has answered, WATCHDOG=1 after each round that is well, STOPPING=1 at the end. The
decision is `watchdog.judge`; where nobody listens, no thread is started.
"""

from __future__ import annotations

import faulthandler
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.service.notify import Notifier, Word
from edgemm_runtime.service.pulse import Pulse, Sources
from edgemm_runtime.service.watchdog import Signs, WatchdogVerdict, judge, round_s

_log = logging.getLogger(__name__)
_STARTING_S = 0.2
LoopTime = Callable[[], float | None]
"""When the agent's loop came round last, by the monotonic clock; None before it did for the first time."""


class Keeper:
    """Speaks for one process."""

    def __init__(
        self,
        notifier: Notifier,
        pulse: Pulse,
        *,
        loop: LoopTime | None = None,
        server_turns: Callable[[], bool] = lambda: True,
    ) -> None:
        self._notifier, self._pulse, self._loop, self._server_turns = notifier, pulse, loop, server_turns
        self._round_s = round_s(notifier.watchdog_s)
        self._ready = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgemm-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Say that this process is about to end; its end is not waited for, since a model may hang."""
        self._stopping.set()
        self._notifier.tell(Word.STOPPING, status="stopping: requests in flight are answered first")

    def _run(self) -> None:
        while not self._stopping.is_set():
            begun_s = time.monotonic()
            try:
                self._tell(self._look())
            except Exception:  # noqa: BLE001 - a thread's boundary: a round that fails is one without food
                _log.exception("cannot tell how this process is")
            pause_s = self._round_s if self._ready else _STARTING_S
            self._stopping.wait(max(0.0, begun_s + pause_s - time.monotonic()))

    def _look(self) -> WatchdogVerdict | None:
        """Take a round; None where the agent's loop has not begun."""
        came_round_s = self._loop() if self._loop is not None else None
        if self._loop is not None and came_round_s is None:
            return None
        signs = self._pulse.take(timeout_s=self._round_s)
        age_s = None if came_round_s is None else time.monotonic() - came_round_s
        return judge(Signs(signs, age_s, self._server_turns(), self._pulse.unloaded()))

    def _tell(self, verdict: WatchdogVerdict | None) -> None:
        if self._stopping.is_set():
            return
        if verdict is None or not verdict.fed:
            status = verdict.status if verdict else "starting: loading what was active"
            self._notifier.tell(status=status)
            if verdict is not None and self._ready:
                _log.warning("watchdog not fed status=%s", verdict.status)
            return
        words = [Word.WATCHDOG] if self._ready else [Word.READY, Word.WATCHDOG]
        self._ready |= self._notifier.tell(*words, status=verdict.status)


@contextmanager
def keeping(
    notifier: Notifier,
    models: ModelRegistry,
    sources: Sources,
    *,
    loop: LoopTime | None = None,
    server_turns: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """Keep the service manager informed of this process while the block runs; do nothing where nobody listens."""
    if notifier.address is None:
        yield
        return
    # The watchdog ends a process by SIGABRT: the journal then tells in which line each thread was.
    faulthandler.enable()
    keeper = Keeper(notifier, Pulse(models, sources), loop=loop, server_turns=server_turns)
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()
