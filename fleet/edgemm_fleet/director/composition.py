"""The composition of a device's next `desired`: a higher generation, a renewal of the same one, or no change.

* There is a new generation (`edgemm.messages.generations`) if the content differs from what was sent last, or if the
  device knows other things than were ever sent: a higher generation that is believed, or the same with other content.
  Then the database is an older backup. So there is where the last one is so high that no device takes it.
* The same content near its expiry is renewed: same generation, later expiry. So is what expires later than anything
  that is written now: the clock was ahead, and a device may take it for too early.
* Otherwise nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from edgemm import times
from edgemm.messages import Action, Desired, DesiredModel
from edgemm.messages.generations import counted, next_generation, plausible


@dataclass(frozen=True)
class Validity:
    """How long a `desired` holds."""

    validity_s: float = 7 * 86400.0
    """From its writing to its expiry; expiry gates new installs only, never what runs."""

    renew_before_s: float = 3 * 86400.0
    """It is renewed when less than this is left."""

    slack_s: float = 3600.0
    """How far `not_before` lies in the past, for clocks that are behind."""

    def dates_hold(self, expires_s: float, *, now: float) -> bool:
        """Tell whether a `desired` that expires then needs no renewal yet."""
        return self.renew_before_s <= expires_s - now <= self.latest_s

    @property
    def latest_s(self) -> float:
        """How far ahead an expiry can be at most."""
        return self.validity_s + self.slack_s


@dataclass(frozen=True)
class WantedState:
    """All that a `desired` says, without generation and validity."""

    fleet: str
    device: str
    models: Sequence[DesiredModel]
    actions: Sequence[Action] = ()


@dataclass(frozen=True)
class Numbering:
    """What a new generation is made of: the manager's time (seconds since the epoch) and the nonce of its start."""

    time_s: float
    nonce: int


def compose(
    wanted: WantedState,
    *,
    current: Desired | None,
    highest_reported: int,
    numbering: Numbering,
    validity: Validity,
    now: float,
    anew: bool = False,
) -> Desired | None:
    """Return the `desired` to write, or None if the current one still says it.

    `current` was written last, and `anew` says that the device holds other content under its generation: it takes
    nothing more under that.
    """
    last = counted(current.generation, now_s=numbering.time_s) if current else 0
    believed = highest_reported if plausible(highest_reported, last=last, now_s=now) else 0
    draft = Desired(
        fleet=wanted.fleet,
        device=wanted.device,
        generation=next_generation(last=last, reported=believed, now_s=numbering.time_s, nonce=numbering.nonce),
        not_before=times.to_text(now - validity.slack_s),
        expires=times.to_text(now + validity.validity_s),
        models=tuple(sorted(wanted.models, key=lambda model: model.name)),
        actions=tuple(wanted.actions),
    )
    if current is None:
        return draft if draft.models or draft.actions or believed else None
    same = replace(draft, generation=current.generation)
    if anew or not last or believed > last or same.content() != current.content():
        return draft
    return None if validity.dates_hold(times.from_text(current.expires), now=now) else same
