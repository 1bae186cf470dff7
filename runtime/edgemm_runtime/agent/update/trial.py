"""The watch over a model on probation: counters, golden samples in the serving process, the monotonic clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from edgemm.errors import EdgemmError
from edgemm.messages import Probation
from edgemm_runtime.agent.state.documents import Installed
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.update import events
from edgemm_runtime.agent.update.events import Event
from edgemm_runtime.agent.update.host import ModelHost
from edgemm_runtime.agent.update.probation import ProbationOutcome, ProbationTrial, hang_limit_s, judge
from edgemm_runtime.engines.bundle_source import BundleSource

_LONGEST_PAUSE_S = 1.0
_SHORTEST_PAUSE_S = 0.01
_LOOK_AGAIN_S = 0.2


class _Figures(msgspec.Struct, frozen=True):
    requests: int = 0
    errors: int = 0
    latency_counts: tuple[int, ...] = ()
    hangs: int = 0
    uncomputable: int = 0

    @property
    def uncomputable_share(self) -> float:
        """The share of all requests whose size the model could not compute."""
        return self.uncomputable / max(1, self.requests + self.uncomputable)


class Watch:
    """One trial of one model in this process, beside the `old` one's figures; it begins when it is made."""

    def __init__(
        self,
        host: ModelHost,
        name: str,
        installed: Installed,
        *,
        old: Installed | None,
        source: BundleSource,
        clock: Clock,
        hang_s: float,
    ) -> None:
        self._host, self._name, self._installed, self._source = host, name, installed, source
        self._clock, self._hang_s = clock, hang_s
        self._begun_s = self._checked_s = clock.monotonic()
        self._slowest_s: float | None = None
        self._before = self._figures(installed)
        self._old = _Figures() if old is None else self._figures(old)

    def run(self, rules: Probation, interrupt: threading.Event) -> Event | None:
        """Watch until the model stays or goes; None where the interrupt came first."""
        while True:
            trial = self._trial()
            verdict = judge(rules, trial)
            due = self._clock.monotonic() - self._checked_s >= rules.selftest_interval_s
            if due or verdict.outcome is ProbationOutcome.COMMIT:
                # Nothing commits without having answered its golden samples at the end of its trial.
                verdict = judge(rules, self._checked(trial))
            if verdict.reason is not None:
                return events.Trouble(verdict.reason, verdict.detail)
            if verdict.outcome is ProbationOutcome.COMMIT:
                return events.Passed()
            if interrupt.wait(min(max(rules.selftest_interval_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)):
                return None

    def _trial(self) -> ProbationTrial:
        now, before = self._figures(self._installed), self._before
        earlier = before.latency_counts or (0,) * len(now.latency_counts)
        return ProbationTrial(
            elapsed_s=self._clock.monotonic() - self._begun_s,
            requests=now.requests - before.requests,
            errors=now.errors - before.errors,
            latency_counts=[n - b for n, b in zip(now.latency_counts, earlier, strict=True)],
            hangs=now.hangs - before.hangs,
            uncomputable=now.uncomputable - before.uncomputable,
            uncomputable_before=self._old.uncomputable_share,
        )

    def _checked(self, trial: ProbationTrial) -> ProbationTrial:
        """Add what the golden samples say."""
        progress = Progress(slowest_s=self._slowest_s, first_s=self._hang_s)
        wrong, hang = supervised(
            lambda: self._host.check(self._name, self._source, answered=progress.answered), progress
        )
        self._checked_s = self._clock.monotonic()
        self._slowest_s = progress.slowest_s
        told = f"a golden sample was not answered within {progress.limit_s:.3g} s" if hang else None
        return msgspec.structs.replace(trial, selftest_failure=wrong, hang=told)

    def _figures(self, installed: Installed) -> _Figures:
        for found in self._host.snapshot():
            key = found.key
            if (key.name, key.digest, key.variant) == (self._name, installed.digest, installed.variant):
                return _Figures(found.requests, found.errors, found.latency_counts, found.hangs, found.uncomputable)
        return _Figures()


class Progress:
    """When golden samples were answered in a thread, and since when the next one is awaited."""

    def __init__(self, *, slowest_s: float | None, first_s: float) -> None:
        self.slowest_s, self._first_s = slowest_s, first_s
        self._since_s = time.monotonic()

    def answered(self) -> None:
        """Note that one was answered."""
        now_s = time.monotonic()
        self.slowest_s = max(self.slowest_s or 0.0, now_s - self._since_s)
        self._since_s = now_s

    @property
    def limit_s(self) -> float:
        """How long the next one may take."""
        return hang_limit_s(self.slowest_s, first_s=self._first_s)

    @property
    def left_s(self) -> float:
        """How much of that is left; below 0 where it is over."""
        return self._since_s + self.limit_s - time.monotonic()


def supervised(call: Callable[[], None], progress: Progress) -> tuple[str | None, bool]:
    """Run `call` in a thread of its own; returns what went wrong, and whether it made no progress any more.

    A thread that hangs in an engine cannot be ended: it is left behind and does not keep the process alive.
    """
    failed = ["the thread that ran the golden samples died"]

    def run() -> None:
        try:
            call()
            failed.clear()
        except EdgemmError as err:
            failed[:] = [str(err)]

    thread = threading.Thread(target=run, name="edgemm-golden", daemon=True)
    thread.start()
    looked = False
    while thread.is_alive():
        late = progress.left_s <= 0
        if late and looked:
            return None, True
        # Looked at again before it is given up: one look may fall into a pause of the whole machine.
        looked = late
        thread.join(_LOOK_AGAIN_S if late else progress.left_s)
    return (failed[0] if failed else None), False
