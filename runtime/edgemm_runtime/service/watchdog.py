"""The decision whether to feed the service manager's watchdog. Pure: signs and times are arguments.

It is fed only while every served model answers a golden sample rightly and in time, and the agent's loop, where there
is one, comes round. Trouble that passes by itself is forgiven: a round that is not fed costs nothing until the
watchdog's time is over, which is some rounds. A device with nothing to serve is fed by its loop alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

ROUNDS = 4
"""Rounds in the watchdog's time: three in a row may go without food."""
LONGEST_ROUND_S = 60.0
LOOP_LIMIT_S = 300.0
"""How long the agent's loop may take to come round: it may wait for a slow server, each silence at most 30 s."""


class Sign(Enum):
    """What a served model did with its golden sample."""

    ANSWERED = "answers"
    FAILED = "answers wrongly or fails"
    LATE = "does not answer"
    STARTING = "is not ready"
    BUSY = "refuses its golden sample for lack of room, and answered nobody else either"


class Signs(msgspec.Struct, frozen=True):
    """What one round found: a sign a model, and how long ago the agent's loop came round (None: no such loop)."""

    models: Mapping[str, Sign]
    loop_age_s: float | None = None
    server_turns: bool = True
    """Whether the HTTP server's loops come round, and few threads were left behind in models that hang."""

    unloaded: tuple[str, ...] = ()
    """Models that an operator has taken out of serving."""


class WatchdogVerdict(msgspec.Struct, frozen=True):
    """Whether all is well, and what to tell people."""

    fed: bool
    status: str


def judge(signs: Signs, *, loop_limit_s: float = LOOP_LIMIT_S) -> WatchdogVerdict:
    """Decide a round."""
    if not signs.server_turns:
        return WatchdogVerdict(fed=False, status="the HTTP server hangs, or too many inferences did")
    if signs.loop_age_s is not None and signs.loop_age_s > loop_limit_s:
        return WatchdogVerdict(fed=False, status=f"the agent's loop has not come round for {signs.loop_age_s:.0f} s")
    bad = [f"{name} {sign.value}" for name, sign in sorted(signs.models.items()) if sign is not Sign.ANSWERED]
    if bad:
        return WatchdogVerdict(fed=False, status="; ".join(bad))
    if signs.models:
        return WatchdogVerdict(fed=True, status=f"serving {', '.join(sorted(signs.models))}")
    if signs.unloaded:
        status = f"nothing to serve: {', '.join(sorted(signs.unloaded))} unloaded"
    elif signs.loop_age_s is not None:
        status = "nothing to serve yet: the fleet has not rolled a model out to this device"
    else:
        return WatchdogVerdict(fed=False, status="nothing to serve")
    return WatchdogVerdict(fed=True, status=status)


def round_s(watchdog_s: float | None) -> float:
    """Return how often to look; a golden sample that takes longer than that is late."""
    return LONGEST_ROUND_S if watchdog_s is None else min(LONGEST_ROUND_S, watchdog_s / ROUNDS)
