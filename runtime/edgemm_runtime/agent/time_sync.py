"""The question for the fleet's time, in a thread of its own: a device that doubts its time asks the manager for it.

    sync.doubt(Reason.EXPIRED)      # any thread: something was refused by its date
    sync.look()                     # the agent's loop, about once a second: asks where that is due
    sync.take()                     # after `answered` was called: in words what a statement changed

When to ask is `state/time_doubt.py`, what an answer changes `state/trusted_time.py`. A question goes over the pinned
connection with a nonce for itself. Its answer counts if the timestamp role of the newest verified root signed it over
this fleet and this nonce, and if it came within 30 s by the monotonic clock: what somebody recorded proves nothing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from msgspec import UNSET, UnsetType

from edgemm import canonical, times
from edgemm.errors import EdgemmError, UnreachableError
from edgemm.messages import Action, ReportedClock
from edgemm.reasons import Reason
from edgemm.transport.backoff import Backoff
from edgemm.trust.time_statement import MAX_STATEMENT_BYTES, TIME_PATH, TimeQuestion, new_nonce, read_statement
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.state.time_doubt import TimeDoubt
from edgemm_runtime.agent.state.time_keeper import TimeKeeper
from edgemm_runtime.agent.state.trusted_time import SKEW_S
from edgemm_runtime.agent.update.time_authority import TimeAuthority

_log = logging.getLogger(__name__)
VALID_S = 30.0
"""From a question to its answer; a later one is not believed."""
_ORDER_S = 90.0
"""How long an operator's order waits for an answer."""
_MOST_SECONDS = 1e9


class AuthoritySource(Protocol):
    """Where the authority comes from; `TrustedVersions` in a device."""

    def time_authority(self) -> TimeAuthority:
        """Return it; raises as `TrustedVersions.time_authority`."""


class TimeSync:
    """Doubts, asks, and remembers what to tell; safe to use from many threads."""

    def __init__(
        self,
        keeper: TimeKeeper,
        server: FleetConnection,
        authority: AuthoritySource,
        *,
        fleet: str,
        backoff: Backoff,
        monotonic: Callable[[], float],
        answered: Callable[[], None],
    ) -> None:
        self._keeper, self._server, self._authority, self._fleet = keeper, server, authority, fleet
        self._backoff, self._monotonic, self._answered = backoff, monotonic, answered
        self._changed = threading.Condition()
        self._doubt = TimeDoubt()
        self._asking = False
        self._answers, self._lowered = 0, ""
        self._ahead_s: float | None = None
        self._detail: str | None = None
        """What became of the last question, where nothing came of it."""

    def doubt(self, reason: Reason) -> None:
        """Note that something was refused by its date."""
        with self._changed:
            self._doubt = self._doubt.doubted(reason, self._monotonic())

    def look(self) -> bool:
        """Look at the system clock, and ask where a question is due; tell whether there is another doubt to report."""
        now_s, trouble, leapt = self._monotonic(), self._keeper.trouble(), self._keeper.leapt()
        with self._changed:
            before = self._doubt.reason
            self._doubt = self._doubt.looked(trouble, now_s)
            if leapt:
                self._doubt = self._doubt.leapt(now_s)
            if self._doubt.due(now_s) and not self._asking:
                self._begin()
            return self._doubt.reason is not before

    def take(self) -> str:
        """Return in words by how much statements lowered the trusted time since this was asked before, or nothing."""
        with self._changed:
            told, self._lowered = self._lowered, ""
        return told

    def reported(self) -> ReportedClock | UnsetType:
        """Return what there is to report; nothing where nothing is doubted."""
        with self._changed:
            doubt, ahead_s, detail = self._doubt, self._ahead_s, self._detail
        if doubt.reason is None:
            return UNSET
        return ReportedClock(
            reason=doubt.reason.value,
            ahead_s=None if ahead_s is None else int(ahead_s),
            for_s=min(_MOST_SECONDS, max(0.0, self._monotonic() - doubt.since_s)),
            detail=detail,
        )

    def sync(self, action: Action) -> str:  # noqa: ARG002 - every handler takes the action
        """Ask now, for an operator, and return in words what came of it.

        Raises:
            UnreachableError: no answer came that counts.
        """
        with self._changed:
            before, tried = self._answers, self._doubt.failures
            self._doubt = self._doubt.ordered(self._monotonic())
            self._changed.wait_for(lambda: self._answers > before or self._doubt.failures > tried, _ORDER_S)
            if self._answers == before:
                raise UnreachableError(self._detail or f"no answer within {_ORDER_S:.0f} s; it is asked again")
        return self._told()

    def _told(self) -> str:
        ahead_s, now_s = self._ahead_s or 0.0, self._keeper.now().seconds
        if abs(ahead_s) <= SKEW_S:
            clock = "the system clock agrees with the fleet's"
        else:
            clock = (
                f"the system clock is {times.span(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} the fleet's"
            )
        return f"trusted time {times.to_text(now_s)}; {clock}"

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="edgemm-time", daemon=True)
        try:
            thread.start()
        except RuntimeError as err:  # no thread to be had: the next look tries again
            _log.warning("time not asked for error=%s", err)
            return
        self._asking = True

    def _run(self) -> None:
        detail, answers = "a defect of edgemm: its log has it", self._answers
        try:
            detail = self._take_over(*self._ask())
        except EdgemmError as err:
            detail = str(err)
            _log.warning("time not had error=%s", err)
        finally:
            with self._changed:
                self._asking, self._detail = False, detail[:500] or None
                if self._answers == answers:
                    draw = random.random()  # noqa: S311 - spreads load, guards nothing
                    self._doubt = self._doubt.failed(self._monotonic(), self._backoff, draw=draw)
                self._changed.notify_all()
            self._answered()

    def _ask(self) -> tuple[float, float]:
        """Return the fleet's time and how low it may be; raises an `EdgemmError` where no answer counts."""
        authority, nonce = self._authority.time_authority(), new_nonce()
        question, begun = canonical.encode(TimeQuestion(nonce=nonce)), (self._monotonic(), times.boot_time_s())
        headers, until_s = {"Content-Type": "application/json"}, time.monotonic() + VALID_S
        with self._server.open("POST", TIME_PATH, body=question, headers=headers, until_s=until_s) as answer:
            data = answer.read(max_bytes=MAX_STATEMENT_BYTES)
        # Also a machine that slept meanwhile must not take an old answer for a new one.
        if (took_s := max(self._monotonic() - begun[0], times.boot_time_s() - begun[1])) > VALID_S:
            raise UnreachableError(
                f"statement of time: it took {took_s:.0f} s, at most {VALID_S:.0f} count; asks again"
            )
        keys, threshold = authority.keys, authority.threshold
        fleet_s = read_statement(data, fleet=self._fleet, nonce=nonce, keys=keys, threshold=threshold)
        return float(fleet_s), authority.least_s

    def _take_over(self, fleet_s: float, least_s: float) -> str:
        """Take an answer over; return in words what keeps the time from being lowered to it, or nothing."""
        before, lowered_s = self._keeper.now(), self._keeper.hear(fleet_s, least_s=least_s)
        trouble, after = self._keeper.trouble(), self._keeper.now()
        bounded = least_s - fleet_s > SKEW_S and after.seconds - fleet_s > SKEW_S
        with self._changed:
            self._answers += 1
            self._ahead_s = self._keeper.shown_s() - fleet_s
            if bounded:
                trouble = trouble or self._doubt.reason
            self._doubt = self._doubt.answered(self._monotonic(), changed=lowered_s > 0, trouble=trouble)
            if lowered_s > 0:
                self._lowered = f"from {times.to_text(before.seconds)} to {times.to_text(after.seconds)}"
        _log.info("time stated fleet=%s lowered_s=%d ahead_s=%d", times.to_text(fleet_s), lowered_s, self._ahead_s)
        if not bounded:
            return ""
        return (
            f"the fleet states {times.to_text(fleet_s)}, and its root or targets metadata was signed at "
            f"{times.to_text(least_s)}: see to the manager's clock, or sign that metadata anew"
        )
