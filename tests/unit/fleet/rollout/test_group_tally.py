"""What the numbers of a group mean: members, reports, ends → verdict."""

from __future__ import annotations

import pytest

from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.rollout.group_tally import GroupTally, GroupVerdict, tally

OPEN, GOOD = GroupVerdict.OPEN, GroupVerdict.ENOUGH_SUCCESSES
ERRORS, REACHED, SUCCESSES = GroupVerdict.TOO_MANY_ERRORS, GroupVerdict.TOO_FEW_REACHED, GroupVerdict.TOO_FEW_SUCCESSES


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0, 0, 0, 0, 0), GOOD),
        ((10, 0, 0, 0, 0), OPEN),
        # Success at exactly 90 %, none at 89.9 %.
        ((10, 10, 9, 1, 0), GOOD),
        ((10, 10, 9, 0, 0), GOOD),
        ((1000, 1000, 899, 0, 0), OPEN),
        ((1000, 1000, 899, 101, 0), ERRORS),
        # Errors at exactly 10 % are allowed, more are not.
        ((10, 10, 0, 1, 0), OPEN),
        ((10, 10, 0, 2, 0), ERRORS),
        # Rates count only devices that reported …
        ((10, 5, 5, 0, 0), GOOD),
        ((10, 5, 4, 1, 0), ERRORS),
        # … and are judged only when half of the members did, or when the errors exceed the limit of all members.
        ((10, 4, 4, 0, 0), OPEN),
        ((10, 2, 1, 1, 0), OPEN),
        ((10, 2, 0, 2, 0), ERRORS),
        # The excused count in neither.
        ((10, 10, 8, 0, 2), GOOD),
        ((10, 10, 7, 1, 2), ERRORS),
        ((10, 10, 0, 0, 10), SUCCESSES),
        ((1, 1, 0, 0, 1), SUCCESSES),
    ],
)
def test_verdicts_at_90_percent_success_10_percent_errors_and_half_reached(
    numbers: tuple[int, int, int, int, int], expected: GroupVerdict
) -> None:
    """The numbers are members, reported, committed, failed and excused."""
    members, reported, committed, failed, excused = numbers
    unfinished = members - committed - failed - excused
    one = GroupTally(members, reported, unfinished, committed, failed, excused)
    assert one.verdict(Group(percent=100)) is expected


@pytest.mark.parametrize(
    ("reported", "committed", "failed", "expected"),
    [(4, 4, 0, REACHED), (5, 4, 0, SUCCESSES), (5, 5, 0, GOOD), (0, 0, 0, REACHED)],
)
def test_verdicts_when_everything_has_ended(reported: int, committed: int, failed: int, expected: GroupVerdict) -> None:
    one = GroupTally(members=10, reported=reported, unfinished=0, committed=committed, failed=failed)
    assert one.verdict(Group(percent=100)) is expected


def test_a_tally_adds_up_the_rows_of_each_group() -> None:
    counts = [
        (0, MemberState.COMMITTED, True, 3),
        (0, MemberState.EXCUSED, False, 1),
        (0, MemberState.EXCUSED, True, 2),
        (1, MemberState.PENDING, False, 5),
        (1, MemberState.ACTIVATING, True, 1),
    ]
    assert tally(counts) == {
        0: GroupTally(members=6, reported=5, committed=3, excused=2),
        1: GroupTally(members=6, reported=1, unfinished=6),
    }
