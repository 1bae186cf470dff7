"""The doubt of a device about its time: decides when it asks the fleet for the time. Pure.

    doubt = doubt.looked(trouble, now_s)            # the system clock, about once a second
    doubt = doubt.doubted(Reason.EXPIRED, now_s)    # something else that cannot be
    if doubt.due(now_s): …                          # ask; then `answered` or `failed`

What the clock shows is a state: it is asked about when it begins, and again every six hours while it lasts, for a clock
that was put right is then believed again. What was refused by its date is an incident: each opens a question, and
answers that change nothing make the pause before the next one grow to an hour, unless the clock itself changed.
Questions without an answer are repeated with the agent's own back-off. So nobody who sends refused messages makes a
device ask often. `now_s` is the monotonic clock.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from edgemm.reasons import Reason
from edgemm.transport.backoff import Backoff

RECHECK_S = 6 * 3600.0
"""While the clock is not believed, the fleet is asked this often."""
FRUITLESS = Backoff(first_s=60.0, max_s=3600.0)
"""Pauses after answers in a row that changed nothing."""
LEAST_PAUSE_S = 5.0
"""Between any two questions, an operator's among them."""
_OF_THE_CLOCK = frozenset({Reason.CLOCK_AHEAD, Reason.CLOCK_BEHIND})


class TimeDoubt(Struct, frozen=True):
    """Why a device doubts its time (None: it does not), since when, and when it may ask."""

    reason: Reason | None = None
    since_s: float = 0.0
    open: bool = False
    """A question is to be asked."""
    next_s: float = -math.inf
    """No question before."""
    recheck_s: float = math.inf
    """Ask again then, if the clock is still not believed."""
    failures: int = 0
    fruitless: int = 0

    def looked(self, trouble: Reason | None, now_s: float) -> TimeDoubt:
        """Note what is wrong with the system clock now, None: nothing."""
        if trouble is None:
            return TimeDoubt(next_s=self.next_s) if self.reason in _OF_THE_CLOCK else self
        if self.reason is not trouble:
            since_s = now_s if self.reason is None else self.since_s
            return replace(self, reason=trouble, since_s=since_s, open=True).soon(now_s)
        return replace(self, open=True, recheck_s=math.inf) if now_s >= self.recheck_s else self

    def doubted(self, reason: Reason, now_s: float) -> TimeDoubt:
        """Note an incident: something was refused by its date, or the clock leapt."""
        if self.reason is None:
            return replace(self, reason=reason, since_s=now_s, open=True)
        return self if self.open else replace(self, open=True)

    def leapt(self, now_s: float) -> TimeDoubt:
        """Note that the system clock went ahead by more than it may."""
        return self.doubted(Reason.CLOCK_LEAPT, now_s).soon(now_s)

    def ordered(self, now_s: float) -> TimeDoubt:
        """Note that an operator wants a question asked, whatever the pause."""
        begun = self.doubted(Reason.TIME_ASKED, now_s)
        return replace(begun, next_s=min(begun.next_s, now_s + LEAST_PAUSE_S))

    def soon(self, now_s: float) -> TimeDoubt:
        """Return the doubt without the pause after answers that changed nothing: the clock itself is another now."""
        return self if self.failures else replace(self, next_s=min(self.next_s, now_s + LEAST_PAUSE_S), fruitless=0)

    def due(self, now_s: float) -> bool:
        """Tell whether to ask now."""
        return self.open and now_s >= self.next_s

    def failed(self, now_s: float, backoff: Backoff, *, draw: float) -> TimeDoubt:
        """Note that no answer came, or none that counts."""
        pause_s = max(LEAST_PAUSE_S, backoff.delay_s(self.failures + 1, draw=draw))
        return replace(self, failures=self.failures + 1, next_s=now_s + pause_s)

    def answered(self, now_s: float, *, changed: bool, trouble: Reason | None) -> TimeDoubt:
        """Note an answer: whether it changed the trusted time, and what is still wrong with the clock."""
        fruitless = 0 if changed else self.fruitless + 1
        pause_s = LEAST_PAUSE_S if changed else FRUITLESS.delay_s(fruitless, draw=1.0)
        return TimeDoubt(
            reason=trouble,
            since_s=self.since_s,
            next_s=now_s + pause_s,
            recheck_s=now_s + RECHECK_S,
            fruitless=fruitless,
        )
