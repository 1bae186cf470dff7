"""The order in which a device should take variants."""

from __future__ import annotations

import pytest

from edgemm_converter.report import ranking
from edgemm_converter.report.ranking import Candidate


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([Candidate("slow", 10, 9.0), Candidate("fast", 99, 3.0)], ["fast", "slow"]),
        ([Candidate("large", 99, 3.01), Candidate("small", 10, 3.02)], ["small", "large"]),
        ([Candidate("worse", 10, 3.01, 0.004), Candidate("better", 99, 3.02, 0.001)], ["better", "worse"]),
        ([Candidate("wrong", 1, 1.0, 0.2), Candidate("right", 99, 9.0, 0.0)], ["right", "wrong"]),
        ([Candidate("unmeasured", 1), Candidate("measured", 99, 9.0)], ["measured", "unmeasured"]),
        ([Candidate("first", 5), Candidate("second", 5)], ["first", "second"]),
        ([Candidate("gains", 9, 3.0, -0.2), Candidate("equals", 5, 3.0, 0.0)], ["equals", "gains"]),
    ],
)
def test_what_was_measured_decides(candidates: list[Candidate], expected: list[str]) -> None:
    assert ranking.ranked(candidates) == expected


def test_the_budget_is_what_was_allowed() -> None:
    candidates = [Candidate("right", 99, 9.0, 0.0), Candidate("allowed", 1, 1.0, 0.2)]
    assert ranking.ranked(candidates, budget=0.2) == ["allowed", "right"]
    assert ranking.ranked(candidates, budget=0.1) == ["right", "allowed"]
