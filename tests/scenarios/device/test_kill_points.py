"""SIGKILL before and after each sort of fsync, rename, removal, commit and send of an update, in real agents.

One point of each sort here; `python -m benchmarks.kill_points` takes all of them, which are more than 200 a story.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulators.power_cuts import COMMITTED, GOOD, TURNED_BACK, Story, UpdateStory, cut_all, kind

pytestmark = pytest.mark.slow


def _one_of_each_kind(points: list[str]) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for point in points:
        kinds.setdefault(kind(point), []).append(point)
    return [same[len(same) // 2] for same in kinds.values()]


def _around_records(points: list[str]) -> list[str]:
    return [point for point in points if "rename models" in point]


@pytest.mark.parametrize(
    ("story", "choose", "least"),
    [(COMMITTED, _one_of_each_kind, 60), (TURNED_BACK, _around_records, 12)],
    ids=["an update that stays", "one that is turned back"],
)
def test_killed_at(story: Story, choose: Callable[[list[str]], list[str]], least: int, tmp_path: Path) -> None:
    with UpdateStory(tmp_path, story, workers=4) as updates:
        points = updates.points()
        assert len(points) >= 150, "no call that can be met has gone unseen"
        chosen = choose(points)
        assert len(chosen) >= least
        ended = cut_all(updates, chosen)
    assert {point: end for point, end in ended.items() if end != GOOD} == {}
