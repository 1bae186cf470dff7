"""The selection of the devices that a group takes, in plain words, which the manager's SQL is held against.

The first group's members are fixed when it starts; each later group looks anew at which devices match. Devices that are
connected come first. After that, the order is always the same for one rollout, and different for another. A device is a
member once; only the last group takes devices again: all those that timed out earlier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import RolloutPlan


@dataclass(frozen=True)
class MatchedDevice:
    """A device that matches the selector now."""

    device: str
    online: bool


def select_members(
    rollout: str,
    plan: RolloutPlan,
    group: int,
    *,
    candidates: Sequence[MatchedDevice],
    members: Mapping[str, MemberState],
) -> list[str]:
    """Return the devices that a group takes, by id.

    Args:
        rollout: its id, which decides the order.
        plan: its plan.
        group: index of the group that starts.
        candidates: every device that matches now.
        members: state of every device that is a member already.
    """
    again: list[str] = []
    if group == plan.last_group:
        again = [c.device for c in candidates if members.get(c.device) is MemberState.TIMED_OUT]
    fresh = [c for c in candidates if c.device not in members]
    taken = len(candidates) - len(fresh)
    size = plan.groups[group].size(matching=len(candidates), taken=taken)
    fresh.sort(key=lambda c: (not c.online, hashlib.sha256(f"{rollout}:{c.device}".encode()).digest()))
    return sorted([*again, *(c.device for c in fresh[:size])])
