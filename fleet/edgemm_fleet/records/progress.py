"""The progress of a rollout and of its groups."""

from __future__ import annotations

from msgspec import Struct

from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait


class GroupProgress(Struct, frozen=True, kw_only=True):
    """How far a group is: when it started, since when its thresholds hold, and when it was through.

    From `preparing_at` on its members are chosen, `size` in all, and it starts when they are. `matching` is how many
    devices the selector meant then, members already among them; None: not noted.
    """

    started_at: float | None = None
    deadline_at: float | None = None
    met_at: float | None = None
    passed_at: float | None = None
    matching: int | None = None
    preparing_at: float | None = None
    size: int | None = None

    def runs_at(self, now: float) -> bool:
        """Tell whether the group has started by now, and its deadline has not come."""
        return self.started_at is not None and (self.deadline_at is None or self.deadline_at > now)


class Rollout(Struct, frozen=True, kw_only=True):
    """A rollout and how far it is.

    `deadline_at` is when its present state ends by itself; `trouble` is the error that keeps it from going on, which
    is tried again and again. One that is paused, or runs and starts no further group yet, is `waiting`. One that was
    broken off or is rolled back takes its version back from its members by and by, by id: `taken_back` is how far it
    is with that; None: there is nothing to take back.
    """

    id: str
    plan: RolloutPlan
    state: RolloutState
    reason: str | None
    created_by: str
    created_at: float
    changed_at: float
    deadline_at: float | None
    groups: tuple[GroupProgress, ...]
    trouble: str | None = None
    waiting: RolloutWait | None = None
    taken_back: str | None = None

    @property
    def current_group(self) -> int | None:
        """Index of the group that started last; None before the first."""
        started = [index for index, group in enumerate(self.groups) if group.started_at is not None]
        return started[-1] if started else None

    @property
    def preparing(self) -> int | None:
        """Index of the group whose members are being chosen; None: of none."""
        chosen = [i for i, one in enumerate(self.groups) if one.preparing_at is not None and one.started_at is None]
        return chosen[-1] if chosen else None
