"""The updater: a thread that obeys the latest wish for one model and takes one step after another.

It waits when there is no step to take.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from edgemm.messages import DesiredModel
from edgemm.reasons import Reason
from edgemm.states import TERMINAL, UpdateState
from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.update import events, machine
from edgemm_runtime.agent.update.events import Event, Trouble
from edgemm_runtime.agent.update.journal import Journal
from edgemm_runtime.agent.update.machine import Step
from edgemm_runtime.agent.update.steps import Interrupted, Steps

_log = logging.getLogger(__name__)


class Updater:
    """Works towards what is wanted of one model.

    `changing` is held while the record changes, so that nobody prunes by a record that is about to change; `changed`
    is called once it has, so that whoever reports then finds the new one.
    """

    def __init__(
        self,
        record: ModelFile,
        steps: Steps,
        journal: Journal,
        *,
        changing: AbstractContextManager[object],
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self._steps, self._journal = steps, journal
        self._changing, self._changed = changing, changed
        self._lock = threading.Lock()
        self._wish: events.Wanted | events.Unwanted | None = None
        self._stopping = False
        self._interrupt, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edgemm-update-{record.name}", daemon=True)

    def recover(self) -> None:
        """Serve what is active after a start of the agent; an attempt that power cut short is counted first."""
        with self._changing:
            self.record = self._journal.retell(self.record)
        self._apply(events.Restarted())
        while (lost := self._steps.serve_active(self.record, self._interrupt)) is not None:
            self._apply(lost)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def tell(self, wanted: DesiredModel | None) -> None:
        """Say what the fleet wants now; None where the model is to be stopped."""
        with self._lock:
            self._wish = events.Wanted(wanted) if wanted is not None else events.Unwanted()
            if machine.interrupts(self.record, wanted):
                self._interrupt.set()
            self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end after what it cannot interrupt; an attempt under way is not held against the model."""
        with self._lock:
            self._stopping = True
            self._interrupt.set()
            self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; tells whether it ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def catch_up(self) -> None:
        """Keep and tell what a full disk kept from being kept and told; to be called now and then."""
        with self._changing:
            self.record = self._journal.catch_up(self.record)

    def work(self) -> bool:
        """Obey the wish and take one step; tells whether there may be more to do at once."""
        if not self._obey():
            return False
        step = machine.step(self.record)
        if step is None:
            return False
        try:
            event = self._take(step)
        except Interrupted:
            return not self._stopping
        if event is None:
            self.catch_up()
            return self._unfulfilled()
        self._apply(event)
        return True

    def _run(self) -> None:
        while not self._stopping:
            # Cleared before the wish is read: what is told from now on wakes the thread again.
            self._wake.clear()
            if not self.work() and not self._stopping:
                self._wake.wait()
        self._apply(events.Stopping())

    def _obey(self) -> bool:
        """Apply the latest wish; again after every step, for an update that ended may make room for it."""
        with self._lock:
            if self._stopping:
                return False
            self._interrupt.clear()
            wish = self._wish
        if wish is not None:
            self._apply(wish)
        return True

    def _unfulfilled(self) -> bool:
        """Tell whether the update that ended makes room for another wish."""
        with self._lock:
            wish = self._wish
        return wish is not None and machine.decide(self.record, wish) != self.record

    def _take(self, step: Step) -> Event | None:
        try:
            return self._steps.take(step, self.record, self._interrupt)
        except Interrupted:
            raise
        except Exception as err:  # noqa: BLE001 - a thread's boundary: the update fails, what serves goes on serving
            _log.exception("step failed model=%s step=%s", self.record.name, step)
            words = f"{type(err).__name__}: {err}"
            if machine.state(self.record) is UpdateState.ROLLING_BACK:
                return events.Lost(words)
            return None if machine.state(self.record) in TERMINAL else Trouble(Reason.INTERNAL_ERROR, words)

    def _apply(self, event: Event) -> None:
        with self._changing:
            before, self.record = self.record, self._journal.apply(self.record, event)
        if self.record is not before:
            self._changed()
