"""Dates of a rollout that a clock wrote which was ahead."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm.states import RolloutState
from edgemm_fleet.records.members import Member, MemberState
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.rollout.redating import DRAFT_LIFETIME_S, longest_s, redated, redated_member

NOW, YEAR_S = 1_800_000_000.0, 366 * 86400.0
PLAN = RolloutPlan(
    model="digits", version="1.0.0", digest="a" * 64, groups=(Group(count=1, deadline_s=100), Group(percent=100))
)
ROLLOUT = Rollout(
    id="r-1", plan=PLAN, state=RolloutState.RUNNING, reason=None, created_by="ann", created_at=NOW, changed_at=NOW,
    deadline_at=None, groups=(GroupProgress(started_at=NOW - 5, deadline_at=NOW + 95, met_at=NOW), GroupProgress()),
)  # fmt: skip


def test_what_a_right_clock_wrote_stays() -> None:
    assert redated(ROLLOUT, now=NOW) is ROLLOUT
    draft = replace(ROLLOUT, state=RolloutState.DRAFT, deadline_at=NOW + DRAFT_LIFETIME_S)
    assert redated(draft, now=NOW) is draft


@pytest.mark.parametrize("ahead_s", [3600.0, 86400.0, 5 * YEAR_S])
def test_a_soak_and_deadlines_of_a_wrong_one_end(ahead_s: float) -> None:
    then = NOW + ahead_s
    leapt = GroupProgress(started_at=then, deadline_at=then + 100, met_at=then, passed_at=then, matching=3)
    found = redated(replace(ROLLOUT, groups=(leapt, GroupProgress()), deadline_at=then + 2 * DRAFT_LIFETIME_S), now=NOW)
    assert found.groups == (
        GroupProgress(started_at=NOW, deadline_at=NOW + 100, met_at=NOW, passed_at=NOW, matching=3),
        GroupProgress(),
    )
    assert found.deadline_at == NOW + DRAFT_LIFETIME_S


@pytest.mark.parametrize(("state", "allowed_s"), [(MemberState.PENDING, 100), (MemberState.ACTIVATING, 4200)])
def test_a_member_has_from_now_on_what_it_is_allowed(state: MemberState, allowed_s: float) -> None:
    member = Member(
        rollout="r-1", device="cam-1", group=0, state=state, attempt=1, generation=1, previous=None,
        started_at=NOW + YEAR_S, changed_at=NOW + YEAR_S, deadline_at=NOW + YEAR_S,
    )  # fmt: skip
    assert redated_member(member, PLAN, now=NOW).deadline_at == NOW + allowed_s
    assert longest_s(PLAN) == 4200
