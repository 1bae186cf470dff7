"""The shortening of a `reported` that is too long for a control message. Pure.

The fleet manager can do best without the parts that are left out first. No more is left out than it takes:

1. words: the details of models, of their shadows and of actions' results;
2. history: the version that a roll-back would return to, and the rollout of the last update;
3. all but the latest results of actions;
4. the engines;
5. models, those at the end first: the ones that are not wanted.

Every model that remains keeps its name, state, reason, digest and active version.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from edgemm import canonical
from edgemm.messages import MAX_CONTROL_BYTES, Reported, ReportedShadow

_ENVELOPE_BYTES = 512
"""What a DSSE envelope adds, generously: type, key id and one Ed25519 signature."""
MAX_PAYLOAD_BYTES = (MAX_CONTROL_BYTES - _ENVELOPE_BYTES) // 4 * 3
"""The largest document whose envelope, which carries it in base64, is still a control message."""
_MAX_DETAIL = 40
_LATEST_RESULTS = 8


def shortened(message: Reported, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> Reported:
    """Return a report of at most `max_bytes`, which must have room for one without models."""
    for shorten in _STEPS:
        if _size(message) <= max_bytes:
            return message
        message = shorten(message)
    while message.models and (size := _size(message)) > max_bytes:
        kept = min(len(message.models) - 1, len(message.models) * max_bytes // size)
        message = replace(message, models=message.models[:kept])
    return message


def _size(message: Reported) -> int:
    return len(canonical.encode(message))


def _without_words(message: Reported) -> Reported:
    models = tuple(replace(model, detail=None, shadow=_without_detail(model.shadow)) for model in message.models)
    actions = tuple(replace(action, detail=action.detail[:_MAX_DETAIL]) for action in message.actions)
    refused = UNSET if message.refused is UNSET else replace(message.refused, detail="")
    return replace(message, models=models, actions=actions, refused=refused)


def _without_detail(shadow: ReportedShadow | UnsetType) -> ReportedShadow | UnsetType:
    return UNSET if shadow is UNSET else replace(shadow, detail=None)


def _without_history(message: Reported) -> Reported:
    models = tuple(replace(model, previous_digest=None, rollout=None) for model in message.models)
    return replace(message, models=models)


def _without_old_results(message: Reported) -> Reported:
    return replace(message, actions=message.actions[-_LATEST_RESULTS:])


def _without_engines(message: Reported) -> Reported:
    return replace(message, engines={})


_STEPS: tuple[Callable[[Reported], Reported], ...] = (
    _without_words, _without_history, _without_old_results, _without_engines,
)  # fmt: skip
