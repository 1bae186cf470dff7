"""The progress of a rollout and of its groups."""

from __future__ import annotations

from msgspec import Struct

from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait


class GroupProgress(Struct, frozen=True, kw_only=True):
    """How far a group is: when it started, since when its thresholds hold, and when it was through.

    `matching` is how many devices the selector meant when it started, members already among them; None: not noted.
    """

    started_at: float | None = None
    deadline_at: float | None = None
    met_at: float | None = None
    passed_at: float | None = None
    matching: int | None = None


class Rollout(Struct, frozen=True, kw_only=True):
    """A rollout and how far it is.

    `deadline_at` is when its present state ends by itself; `trouble` is the error that keeps it from going on, which
    is tried again and again. One that is paused, or runs and starts no further group yet, is `waiting`.
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

    @property
    def current_group(self) -> int | None:
        """Index of the group that started last; None before the first."""
        started = [index for index, group in enumerate(self.groups) if group.started_at is not None]
        return started[-1] if started else None
