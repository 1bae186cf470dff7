"""How one line tells where a rollout stands."""

from typing import Any

from edgemm.states import RolloutState
from edgemm_fleet.api.messages import RolloutDetail
from edgemm_fleet.commands import following
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan


def rollout(**changes: Any) -> Rollout:
    values: dict[str, Any] = {
        "id": "r-1",
        "plan": RolloutPlan(
            model="digits", version="1.0.0", digest="0" * 64, groups=(Group(count=1), Group(percent=100))
        ),
        "state": RolloutState.RUNNING,
        "reason": None,
        "created_by": "person:ann",
        "created_at": 0.0,
        "changed_at": 0.0,
        "deadline_at": None,
        "groups": (GroupProgress(started_at=1.0), GroupProgress()),
    }
    return Rollout(**values | changes)


def test_groups_that_began_are_told() -> None:
    line = following.line(RolloutDetail(rollout=rollout(), groups=({"pending": 1}, {})))
    assert line == "r-1 digits 1.0.0 running; group 1: 1 pending"


def test_a_rollout_that_cannot_go_on_says_why() -> None:
    line = following.line(RolloutDetail(rollout=rollout(trouble="ValueError: no such thing"), groups=({}, {})))
    assert line.endswith("; it cannot go on and tries again: ValueError: no such thing; the server's log says more")
