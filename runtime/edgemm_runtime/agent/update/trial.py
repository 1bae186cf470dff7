"""The watch over a model on probation: counters, golden samples in the serving process, the monotonic clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from edgemm.errors import EdgemmError, UnavailableError
from edgemm.messages import Probation
from edgemm_runtime.agent.state.documents import Installed
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.update import events
from edgemm_runtime.agent.update.events import Event
from edgemm_runtime.agent.update.host import ModelHost
from edgemm_runtime.agent.update.probation import (
    ProbationOutcome,
    ProbationTrial,
    ProbationVerdict,
    hang_limit_s,
    judge,
)
from edgemm_runtime.board.thread_times import threads_seen
from edgemm_runtime.engines import pool
from edgemm_runtime.engines.bundle_source import BundleSource
from edgemm_runtime.engines.hang_time import spent

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
                verdict = self._judged(rules, trial)
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

    def _judged(self, rules: Probation, trial: ProbationTrial) -> ProbationVerdict:
        try:
            return judge(rules, self._checked(trial))
        except UnavailableError:  # clients have all of the model: that is no fault of its own
            return ProbationVerdict(ProbationOutcome.GO_ON)

    def _checked(self, trial: ProbationTrial) -> ProbationTrial:
        """Add what the golden samples say; raises as `supervised`."""
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
    def since_s(self) -> float:
        """Since when the next one is awaited, by the monotonic clock."""
        return self._since_s


def supervised(call: Callable[[], None], progress: Progress) -> tuple[str | None, bool]:
    """Run `call` in a thread of its own; returns what went wrong, and whether it made no progress any more.

    What counts is the time that the machine, and the requests that were first, left it. A thread that hangs in an
    engine cannot be ended: it is left behind and does not keep the process alive.

    Raises:
        UnavailableError: requests of clients have all that could compute it.
    """
    failed: list[EdgemmError] = [EdgemmError("the thread that ran the golden samples died")]

    def run() -> None:
        try:
            call()
            failed.clear()
        except EdgemmError as err:
            failed[:] = [err]

    thread = threading.Thread(target=run, name="edgemm-golden", daemon=True)
    thread.start()
    had_s, since_s, before = 0.0, progress.since_s, threads_seen(time.monotonic())
    while thread.is_alive():
        thread.join(min(_LOOK_AGAIN_S, progress.limit_s))
        seen, ident = threads_seen(time.monotonic()), thread.ident or 0
        if progress.since_s != since_s:
            had_s, since_s = 0.0, progress.since_s
        elif not pool.waits(ident):
            # A look that comes late fell into a pause of the whole machine.
            had_s += min(spent(before, seen, ident).had_s, _LOOK_AGAIN_S)
        before = seen
        if had_s > progress.limit_s and thread.is_alive():
            return None, True
    if failed and isinstance(failed[0], UnavailableError):
        raise failed[0]
    return (str(failed[0]) if failed else None), False
