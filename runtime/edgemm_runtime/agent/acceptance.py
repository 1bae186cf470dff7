"""The acceptance of a `desired` whose signature holds: decides whether this device works towards it. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from edgemm import times
from edgemm.messages import Desired
from edgemm.messages.generations import acceptable
from edgemm.reasons import Reason
from edgemm_runtime.agent.state.trusted_time import TrustedTime, expired, too_early


class Acceptance(StrEnum):
    """What becomes of a `desired`; the value is the cause of the event that tells the fleet of a refusal."""

    ACCEPTED = "desired_accepted"
    RENEWED = "desired_renewed"
    UNCHANGED = "desired_unchanged"
    OLDER = "desired_older"
    CONFLICT = Reason.DESIRED_CONFLICT.value
    FOREIGN = Reason.DESIRED_FOREIGN.value
    EXPIRED = Reason.DESIRED_EXPIRED.value
    TOO_EARLY = Reason.DESIRED_TOO_EARLY.value
    IMPLAUSIBLE = Reason.DESIRED_IMPLAUSIBLE.value

    @property
    def taken(self) -> bool:
        """Tell whether it replaces the current one."""
        return self in {Acceptance.ACCEPTED, Acceptance.RENEWED}

    @property
    def refused(self) -> bool:
        """Tell whether it is an error, rather than something old or known that arrived again."""
        return self in _REFUSED


_REFUSED = frozenset(
    {Acceptance.CONFLICT, Acceptance.FOREIGN, Acceptance.EXPIRED, Acceptance.TOO_EARLY, Acceptance.IMPLAUSIBLE}
)


class Whom(msgspec.Struct, frozen=True):
    """Whose desired state it must be."""

    fleet: str
    device: str


def judge(new: Desired, current: Desired | None, *, whom: Whom, now: TrustedTime) -> Acceptance:  # noqa: PLR0911 - a table
    """Compare a new `desired` with the current one.

    An older generation is ignored; the same with the same content renews if it expires later; the same with other
    content is a conflict. A newer one must be within its validity, for it may start an install, and its generation
    must leave room for later ones: after the highest that there is, nothing could be told any more.
    """
    if (new.fleet, new.device) != (whom.fleet, whom.device):
        return Acceptance.FOREIGN
    known = current.generation if current else 0
    if new.generation < known:
        return Acceptance.OLDER
    if current is not None and new.generation == known:
        if new.content() != current.content():
            return Acceptance.CONFLICT
        if times.from_text(new.expires) <= times.from_text(current.expires):
            return Acceptance.UNCHANGED
    if new.generation > known and not acceptable(new.generation, now_s=now.seconds):
        return Acceptance.IMPLAUSIBLE
    if expired(times.from_text(new.expires), now):
        return Acceptance.EXPIRED
    if too_early(times.from_text(new.not_before), now):
        return Acceptance.TOO_EARLY
    return Acceptance.ACCEPTED if new.generation > known else Acceptance.RENEWED


def may_install(desired: Desired, now: TrustedTime) -> bool:
    """Tell whether `desired` may start a new install: expiry gates that, and nothing else."""
    return not expired(times.from_text(desired.expires), now)
