"""The tally of a group: counts its members by state, and holds the counts against the group's thresholds.

    errors ÷ judged > error_threshold        → too many errors
    committed ÷ judged >= success_threshold  → enough successes

where `judged` are the members that reported the generation and were not excused. Neither is decided before
`min_reached` of the members reported. Only errors that exceed the threshold of *all* members are decided at once, since
no further report could make up for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from edgemm_fleet.records.members import UNFINISHED, MemberState
from edgemm_fleet.records.rollout_plan import Group

_EPSILON = 1e-9


class GroupVerdict(Enum):
    """What the numbers of a group say."""

    OPEN = "open"
    ENOUGH_SUCCESSES = "enough_successes"
    TOO_MANY_ERRORS = "too_many_errors"
    TOO_FEW_REACHED = "too_few_reached"
    TOO_FEW_SUCCESSES = "too_few_successes"


@dataclass(frozen=True)
class GroupTally:
    """Numbers of one group's members; `reported` have reported the generation. Removed devices are no members."""

    members: int = 0
    reported: int = 0
    unfinished: int = 0
    committed: int = 0
    failed: int = 0
    excused: int = 0
    """Excused after they reported, or in a state that is not known here."""
    reverting: int = 0
    removed: int = 0

    @property
    def judged(self) -> int:
        """What rates are taken of."""
        return self.reported - self.excused

    def verdict(self, group: Group) -> GroupVerdict:
        """Hold the numbers against a group's thresholds."""
        if self.members == 0:
            return GroupVerdict.ENOUGH_SUCCESSES
        enough_reported = self.reported >= group.required(self.members)
        denominator = self.judged if enough_reported else self.members
        if self.failed > group.error_threshold * denominator + _EPSILON:
            return GroupVerdict.TOO_MANY_ERRORS
        reached = self.committed >= group.success_threshold * self.judged - _EPSILON
        if enough_reported and self.committed > 0 and reached:
            return GroupVerdict.ENOUGH_SUCCESSES
        if self.unfinished:
            return GroupVerdict.OPEN
        return GroupVerdict.TOO_FEW_SUCCESSES if enough_reported else GroupVerdict.TOO_FEW_REACHED


def tally(
    counts: Iterable[tuple[int, MemberState, bool, int]], removed: Mapping[int, int] | None = None
) -> dict[int, GroupTally]:
    """Add up (group, state, has reported, number) to one tally a group; `removed` is group → number."""
    gone = removed or {}
    groups: dict[int, list[tuple[MemberState, bool, int]]] = {}
    for group, state, reported, number in counts:
        groups.setdefault(group, []).append((state, reported, number))
    return {group: _add_up(groups.get(group, []), gone.get(group, 0)) for group in groups.keys() | gone.keys()}


def _add_up(rows: list[tuple[MemberState, bool, int]], removed: int) -> GroupTally:
    def total(*states: MemberState, only_reported: bool = False) -> int:
        return sum(n for state, reported, n in rows if state in states and (reported or not only_reported))

    return GroupTally(
        members=sum(n for _, _, n in rows),
        reported=sum(n for _, reported, n in rows if reported),
        unfinished=total(*UNFINISHED),
        committed=total(MemberState.COMMITTED),
        failed=total(MemberState.FAILED),
        excused=total(MemberState.EXCUSED, *(state for state, _, _ in rows if not state.known), only_reported=True),
        reverting=total(MemberState.REVERTING),
        removed=removed,
    )
