from __future__ import annotations

import pytest

from edgemm.messages import LATENCY_EDGES_S, Probation
from edgemm_runtime.agent.update.probation import ProbationOutcome, ProbationTrial, hang_limit_s, judge, median_s

RULES = Probation(min_duration_s=60, min_requests=20, max_duration_s=600, max_error_ratio=0.05, max_latency_s=0.01)
FAST, SLOW = [0, 0, 100], [0] * 20 + [100]


@pytest.mark.parametrize(
    ("story", "trial", "outcome", "reason"),
    [
        ("nothing happened yet", ProbationTrial(0), "go_on", ""),
        ("long enough, but too few requests", ProbationTrial(60, requests=19), "go_on", ""),
        ("enough requests, but too short", ProbationTrial(59.9, requests=1000), "go_on", ""),
        ("long enough and enough requests", ProbationTrial(60, requests=20), "commit", ""),
        ("too few requests until the very end", ProbationTrial(600, requests=0), "commit", ""),
        ("exactly the error ratio", ProbationTrial(60, requests=20, errors=1), "commit", ""),
        ("above the error ratio, at once", ProbationTrial(1, requests=20, errors=2), "roll_back", "errors"),
        ("errors in too few requests to tell", ProbationTrial(1, requests=19, errors=19), "go_on", ""),
        ("errors at the very end", ProbationTrial(600, requests=20, errors=20), "roll_back", "errors"),
        ("fast", ProbationTrial(60, requests=100, latency_counts=FAST), "commit", ""),
        ("slow", ProbationTrial(1, requests=100, latency_counts=SLOW), "roll_back", "latency"),
        ("slow in too few requests to tell", ProbationTrial(1, requests=19, latency_counts=SLOW), "go_on", ""),
        (
            "a golden sample came out wrong",
            ProbationTrial(600, requests=99, selftest_failure="3"),
            "roll_back",
            "selftest_failed",
        ),
        ("a golden sample hung", ProbationTrial(600, requests=99, hang="30 s"), "roll_back", "hang"),
        (
            "a request hung, however few there were",
            ProbationTrial(1, requests=1, errors=1, hangs=1),
            "roll_back",
            "hang",
        ),
        ("sizes that it cannot compute", ProbationTrial(1, requests=18, uncomputable=2), "roll_back", "errors"),
        (
            "as many such sizes as always",
            ProbationTrial(60, requests=18, uncomputable=2, uncomputable_before=0.1),
            "go_on",
            "",
        ),
        ("too few of them to tell", ProbationTrial(1, requests=1, uncomputable=18), "go_on", ""),
        ("all at once", ProbationTrial(600, 99, 99, SLOW, "wrong", "hang"), "roll_back", "selftest_failed"),
    ],
)
def test_probation(story: str, trial: ProbationTrial, outcome: str, reason: str) -> None:
    verdict = judge(RULES, trial)
    assert (verdict.outcome, verdict.reason or "") == (ProbationOutcome(outcome), reason), story


def test_defaults_commit_a_model_that_nobody_asks() -> None:
    assert judge(Probation(), ProbationTrial(59.9)).outcome is ProbationOutcome.GO_ON
    assert judge(Probation(), ProbationTrial(60)).outcome is ProbationOutcome.COMMIT


@pytest.mark.parametrize(("slowest_s", "limit_s"), [(None, 30.0), (0.0, 1.5), (0.001, 1.5), (0.15, 1.5), (2.0, 20.0)])
def test_a_hang_is_told_by_what_golden_samples_took_before(slowest_s: float | None, limit_s: float) -> None:
    assert hang_limit_s(slowest_s, first_s=30.0) == pytest.approx(limit_s)


def test_a_roll_back_says_what_was_found() -> None:
    assert "2 of 20 requests failed, at most 5.0%" in judge(RULES, ProbationTrial(1, requests=20, errors=2)).detail


@pytest.mark.parametrize(
    ("counts", "median"),
    [
        ([], 0.0),
        ([5], 0.0),
        ([0, 0, 5], LATENCY_EDGES_S[1]),
        ([50, 0, 51], LATENCY_EDGES_S[1]),
        ([51, 0, 50], 0.0),
        ([0] * len(LATENCY_EDGES_S) + [1], LATENCY_EDGES_S[-1]),
    ],
)
def test_median_is_one_that_is_surely_reached(counts: list[int], median: float) -> None:
    assert median_s(counts) == median
