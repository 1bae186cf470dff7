"""The members of a rollout: the state of one device in it, as the fleet manager sees it."""

from __future__ import annotations

from msgspec import Struct

from edgemm.messages import DesiredModel
from edgemm.open_enum import OpenEnum
from edgemm.states import FAILURES, UpdateState


class MemberState(OpenEnum):
    """Where a device stands in a rollout."""

    PREPARED = "prepared"
    """Chosen for its group; the device has not been told."""
    PENDING = "pending"
    """`desired` is written; the device has not reported its generation."""
    REFUSED = "refused"
    """The device refuses what it is told, which is no fault of the version: `reason` says why; it is told again."""
    REACHED = "reached"
    """The device reported the generation and has not begun to activate."""
    ACTIVATING = "activating"
    """The device is activating, in probation, or turning back."""
    COMMITTED = "committed"
    FAILED = "failed"
    EXCUSED = "excused"
    """It ended in a way that counts neither as a success nor as an error.

    With the reason `removed` and no state of an update, its device was removed: it is no member of its group any more.
    """
    TIMED_OUT = "timed_out"
    """Never reached within the group's deadline."""
    WITHDRAWN = "withdrawn"
    """After a halt or cancel `desired` was rewritten before the device began to activate, or it was never told."""
    REVERTING = "reverting"
    """A roll-back of the rollout wrote the earlier version; the device has not reported it as its own."""
    REVERTED = "reverted"


_M = MemberState
BEFORE_ACTIVATING = frozenset({_M.PENDING, _M.REFUSED, _M.REACHED})
"""States in which a halt takes the new version back."""
WITH_GROUP = BEFORE_ACTIVATING | {_M.PREPARED}
"""States that end at the deadline of the group: none of these members has a deadline of its own."""
UNFINISHED = WITH_GROUP | {_M.ACTIVATING}
"""States of an update that still has to end, each with a deadline."""
UNDECIDED = UNFINISHED | {_M.TIMED_OUT, _M.REVERTING}
"""States of a member of which something is still to come; one that ended counts even where its device is removed."""


class Member(Struct, frozen=True, kw_only=True):
    """One device in one rollout.

    `previous` is what the fleet wanted of the device before (None: the model was not on it), `attempt` and
    `generation` what it was told (0: it has not been);
    `deadline_at` is when the present state ends by itself (seconds since the epoch,
    None for an end state). `reason` and `detail` are the device's own words for an end without success.
    """

    rollout: str
    device: str
    group: int
    state: MemberState
    attempt: int
    generation: int
    previous: DesiredModel | None
    started_at: float
    changed_at: float
    deadline_at: float | None
    update_state: UpdateState | None = None
    reason: str | None = None
    detail: str | None = None

    @property
    def failure(self) -> str | None:
        """The state in which its update failed; None: it did not, or not yet."""
        failed = self.update_state if self.update_state in FAILURES else None
        if self.state is MemberState.FAILED:
            return (failed or self.state).value
        return failed.value if failed is not None and self.state is MemberState.EXCUSED else None
