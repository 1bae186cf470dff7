"""Watching a model on probation: counters, golden samples in the serving process, the monotonic clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgemm.errors import EdgemmError
from edgemm.messages import Probation
from edgemm_runtime.agent.clock import Clock
from edgemm_runtime.agent.documents import Installed
from edgemm_runtime.agent.hosting import ModelHost
from edgemm_runtime.agent.probation import Outcome, Trial, judge
from edgemm_runtime.agent.update import events
from edgemm_runtime.agent.update.events import Event
from edgemm_runtime.engines.source import BundleSource

_LONGEST_PAUSE_S = 1.0
_SHORTEST_PAUSE_S = 0.01


@dataclass(frozen=True)
class _Figures:
    requests: int = 0
    errors: int = 0
    latency_counts: tuple[int, ...] = ()


class Watch:
    """One trial of one model in this process; it begins when it is made."""

    def __init__(
        self, host: ModelHost, name: str, installed: Installed, *, source: BundleSource, clock: Clock, hang_s: float
    ) -> None:
        self._host, self._name, self._installed, self._source = host, name, installed, source
        self._clock, self._hang_s = clock, hang_s
        self._begun_s = self._checked_s = clock.monotonic()
        self._before = self._figures()

    def run(self, rules: Probation, interrupt: threading.Event) -> Event | None:
        """Watch until the model stays or goes; None where the interrupt came first."""
        while True:
            trial = self._trial()
            verdict = judge(rules, trial)
            due = self._clock.monotonic() - self._checked_s >= rules.selftest_interval_s
            if due or verdict.outcome is Outcome.COMMIT:
                # Nothing commits without having answered its golden samples at the end of its trial.
                verdict = judge(rules, self._checked(trial))
            if verdict.outcome is Outcome.ROLL_BACK:
                return events.Trouble(verdict.reason, verdict.detail)
            if verdict.outcome is Outcome.COMMIT:
                return events.Passed()
            if interrupt.wait(min(max(rules.selftest_interval_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)):
                return None

    def _trial(self) -> Trial:
        now, before = self._figures(), self._before
        earlier = before.latency_counts or (0,) * len(now.latency_counts)
        return Trial(
            elapsed_s=self._clock.monotonic() - self._begun_s,
            requests=now.requests - before.requests,
            errors=now.errors - before.errors,
            latency_counts=[n - b for n, b in zip(now.latency_counts, earlier, strict=True)],
        )

    def _checked(self, trial: Trial) -> Trial:
        """Add what the golden samples say."""
        wrong, hang = within(lambda: self._host.check(self._name, self._source), timeout_s=self._hang_s)
        self._checked_s = self._clock.monotonic()
        told = f"a golden sample was not answered within {self._hang_s:g} s" if hang else None
        return Trial(
            trial.elapsed_s,
            requests=trial.requests,
            errors=trial.errors,
            latency_counts=trial.latency_counts,
            selftest_failure=wrong,
            hang=told,
        )

    def _figures(self) -> _Figures:
        for snapshot in self._host.snapshot():
            key = snapshot.key
            if (key.name, key.digest, key.variant) == (self._name, self._installed.digest, self._installed.variant):
                return _Figures(snapshot.requests, snapshot.errors, snapshot.latency_counts)
        return _Figures()


def within(call: Callable[[], None], *, timeout_s: float) -> tuple[str | None, bool]:
    """Run `call` in a thread of its own; returns what went wrong, and whether it did not end in time.

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
    thread.join(timeout_s)
    if thread.is_alive():
        return None, True
    return (failed[0] if failed else None), False
