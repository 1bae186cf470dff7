"""The waiting of a rollout: for what and why, since when, until when, and what comes then.

    RolloutWait.begun(WaitKind.PAUSE, reason="storm", now=now)       # until 7 days from now, then halted(pause_expired)

No waiting is without an end: each kind has its limit in `WAITS`, and a rollout that nobody relieves of it halts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Self

from msgspec import Meta, Struct
from msgspec.structs import replace

from edgemm.open_enum import OpenEnum
from edgemm.reasons import Reason

DAY_S = 86_400.0
PauseSeconds = Annotated[float, Meta(gt=0, le=30 * DAY_S)]
"""How long a pause may be."""


class WaitKind(OpenEnum):
    """For what a rollout waits. Of a kind that is not known here the end still holds."""

    PAUSE = "pause"
    """For the person who paused it, or another, to resume it."""
    PERSON = "person"
    """For a person to start the next group."""
    WINDOW = "window"
    SAMPLES = "samples"
    RATE = "rate"


class WaitLimit(Struct, frozen=True):
    """How long a kind of waiting lasts at most, in seconds, and the reason with which the rollout halts then."""

    limit_s: float
    then: Reason


_K = WaitKind
WAITS: Mapping[WaitKind, WaitLimit] = MappingProxyType(
    {
        _K.PAUSE: WaitLimit(7 * DAY_S, Reason.PAUSE_EXPIRED),
        _K.PERSON: WaitLimit(7 * DAY_S, Reason.NOBODY_DECIDED),
        _K.WINDOW: WaitLimit(14 * DAY_S, Reason.NO_WINDOW),
        _K.SAMPLES: WaitLimit(7 * DAY_S, Reason.TOO_FEW_SAMPLES),
        _K.RATE: WaitLimit(7 * DAY_S, Reason.TOO_SLOW),
    }
)
"""The limit and the end of each kind; the table in docs/states.md is this one. A pause may be given another limit."""


class RolloutWait(Struct, frozen=True, kw_only=True):
    """A rollout waits; dates are in seconds since the epoch.

    At `until` the rollout halts for the reason `then`. `interrupted` is what it waited for when it was paused, and
    waits for again afterwards.
    """

    kind: WaitKind
    reason: str
    since: float
    until: float
    then: str
    interrupted: RolloutWait | None = None

    @classmethod
    def begun(
        cls,
        kind: WaitKind,
        *,
        reason: str,
        now: float,
        limit_s: float | None = None,
        interrupted: RolloutWait | None = None,
    ) -> Self:
        """Return a waiting that begins now, with its kind's limit unless another one is given."""
        limit = WAITS[kind]
        until = now + (limit.limit_s if limit_s is None else limit_s)
        return cls(kind=kind, reason=reason, since=now, until=until, then=limit.then.value, interrupted=interrupted)

    def put_off(self, by_s: float) -> RolloutWait:
        """Return it with a later end: it stood still for so long."""
        return replace(self, until=self.until + by_s)

    def shifted(self, by_s: float) -> RolloutWait:
        """Return it with all its dates moved, as by a clock that was set."""
        interrupted = self.interrupted.shifted(by_s) if self.interrupted else None
        return replace(self, since=self.since + by_s, until=self.until + by_s, interrupted=interrupted)
