"""The composition of a device's next `desired`: a higher generation, a renewal of the same one, or no change.

* The generation becomes max(sent, reported) + 1 if the content differs from what was sent last, or if the device
  reported a higher generation than was ever sent (the database is an older backup). One that no fleet can have reached
  is not believed: no number would be left above it.
* The same content near its expiry is renewed: same generation, later expiry.
* Otherwise nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from edgemm import times
from edgemm.messages import Action, Desired, DesiredModel

_HIGHEST_BELIEVED = 2**52
"""Half of the numbers that a message can hold; nobody writes so many generations."""


@dataclass(frozen=True)
class Validity:
    """How long a `desired` holds."""

    validity_s: float = 7 * 86400.0
    """From its writing to its expiry; expiry gates new installs only, never what runs."""

    renew_before_s: float = 3 * 86400.0
    """It is renewed when less than this is left."""

    slack_s: float = 3600.0
    """How far `not_before` lies in the past, for clocks that are behind."""


@dataclass(frozen=True)
class WantedState:
    """All that a `desired` says, without generation and validity."""

    fleet: str
    device: str
    models: Sequence[DesiredModel]
    actions: Sequence[Action] = ()


def compose(
    wanted: WantedState, *, current: Desired | None, highest_reported: int, validity: Validity, now: float
) -> Desired | None:
    """Return the `desired` to write, or None if the current one still says it."""
    if highest_reported > _HIGHEST_BELIEVED:
        highest_reported = 0
    generation = max(current.generation if current else 0, highest_reported)
    draft = Desired(
        fleet=wanted.fleet,
        device=wanted.device,
        generation=generation + 1,
        not_before=times.to_text(now - validity.slack_s),
        expires=times.to_text(now + validity.validity_s),
        models=tuple(sorted(wanted.models, key=lambda model: model.name)),
        actions=tuple(wanted.actions),
    )
    if current is None:
        return draft if draft.models or draft.actions or highest_reported else None
    same = replace(draft, generation=current.generation)
    if highest_reported > current.generation or same.content() != current.content():
        return draft
    expires_soon = times.from_text(current.expires) - now < validity.renew_before_s
    return same if expires_soon else None
