"""The states of an update on a device and of a rollout, and the permitted transitions between them.

    idle → accepted → downloading → verified → staged → activating → probation → committed

The other ways to end are `rolling_back → rolled_back`, `failed`, `rejected` and `canceled`. Every step may be repeated:
a device that comes back in a state may enter the same state again.
"""

from __future__ import annotations

from types import MappingProxyType

from edgemm.open_enum import OpenEnum


class UpdateState(OpenEnum):
    """Where a device stands with one model. A later version may have a state more: it is shown, and nothing is done."""

    IDLE = "idle"
    ACCEPTED = "accepted"
    DOWNLOADING = "downloading"
    VERIFIED = "verified"
    STAGED = "staged"
    ACTIVATING = "activating"
    PROBATION = "probation"
    COMMITTED = "committed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELED = "canceled"


_U = UpdateState
TERMINAL = frozenset({_U.COMMITTED, _U.ROLLED_BACK, _U.FAILED, _U.REJECTED, _U.CANCELED})
"""States in which a device does nothing more for this attempt."""

FAILURES = frozenset({_U.ROLLED_BACK, _U.FAILED, _U.REJECTED})
"""Terminal states that a device remembers by (model, digest, attempt): only a higher attempt tries again."""

BEFORE_ACTIVATION = frozenset({_U.IDLE, _U.ACCEPTED, _U.DOWNLOADING, _U.VERIFIED, _U.STAGED})
"""States in which a halt still keeps the new model from serving."""

_WAYS_OUT = frozenset({_U.FAILED, _U.REJECTED, _U.CANCELED})
FOLLOWS = MappingProxyType(
    {
        _U.IDLE: frozenset({_U.ACCEPTED}),
        _U.ACCEPTED: _WAYS_OUT | {_U.DOWNLOADING},
        _U.DOWNLOADING: _WAYS_OUT | {_U.VERIFIED},
        _U.VERIFIED: _WAYS_OUT | {_U.STAGED},
        _U.STAGED: _WAYS_OUT | {_U.ACTIVATING},
        _U.ACTIVATING: frozenset({_U.PROBATION, _U.ROLLING_BACK, _U.FAILED}),
        _U.PROBATION: frozenset({_U.COMMITTED, _U.ROLLING_BACK, _U.FAILED}),
        _U.ROLLING_BACK: frozenset({_U.ROLLED_BACK}),
        **dict.fromkeys(TERMINAL, frozenset({_U.ACCEPTED})),
    }
)
"""Which states may follow a state (besides the same one again). A new attempt begins at `accepted`."""


def may_follow(before: UpdateState, after: UpdateState) -> bool:
    """Tell whether a device in state `before` may report `after` next; of a state not known here, all may be true."""
    return before == after or not before.known or not after.known or after in FOLLOWS[before]


class RolloutState(OpenEnum):
    """Where a rollout stands. A later version may have a state more: it is shown, and nothing is done."""

    DRAFT = "draft"
    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    HALTED = "halted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    CANCELED = "canceled"


_R = RolloutState
ROLLOUT_FOLLOWS = MappingProxyType(
    {
        _R.DRAFT: frozenset({_R.READY, _R.CANCELED}),
        _R.READY: frozenset({_R.RUNNING, _R.CANCELED}),
        _R.RUNNING: frozenset({_R.PAUSED, _R.FINISHED, _R.HALTED, _R.ROLLING_BACK, _R.CANCELED}),
        _R.PAUSED: frozenset({_R.RUNNING, _R.HALTED, _R.ROLLING_BACK, _R.CANCELED}),
        _R.HALTED: frozenset({_R.ROLLING_BACK, _R.CANCELED}),
        _R.FINISHED: frozenset({_R.ROLLING_BACK}),
        _R.ROLLING_BACK: frozenset({_R.ROLLED_BACK, _R.HALTED}),
        _R.ROLLED_BACK: frozenset[RolloutState](),
        _R.CANCELED: frozenset[RolloutState](),
    }
)
"""Which states may follow a rollout's state."""
