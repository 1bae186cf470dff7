"""The pace of work in parts: how large the next part is, by how long those before took."""

from __future__ import annotations

from itertools import count

from edgemm_fleet.rollout.pace import WorkPace


def pace(took_s: float, *, least: int = 20, most: int = 500) -> WorkPace:
    """Return a pace by a clock that advances by so much between two looks."""
    ticks = count()
    return WorkPace(least=least, most=most, goal_s=0.02, clock=lambda: next(ticks) * took_s)


def test_parts_grow_while_they_are_quick_and_no_further_than_allowed() -> None:
    quick, sizes = pace(0.001), []
    for _ in range(6):
        sizes.append(quick.size)
        with quick.held(quick.size):
            pass
    assert sizes == [40, 80, 160, 320, 500, 500]


def test_parts_shrink_by_half_when_they_are_slow_and_never_become_tiny() -> None:
    slow, sizes = pace(1.0, least=20), []
    for _ in range(3):
        sizes.append(slow.size)
        with slow.held(slow.size):
            pass
    assert sizes == [40, 20, 20]


def test_a_part_in_which_nothing_was_to_be_done_says_nothing() -> None:
    idle = pace(1.0)
    with idle.held(lambda: 0):
        pass
    assert idle.size == 40
