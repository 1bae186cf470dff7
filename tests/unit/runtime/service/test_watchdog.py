"""When the watchdog is fed, as a table."""

from __future__ import annotations

import pytest

from edgemm_runtime.service.watchdog import LONGEST_ROUND_S, LOOP_LIMIT_S, ROUNDS, Sign, Signs, judge, round_s

GOOD, FAILED, LATE, STARTING, BUSY = Sign.ANSWERED, Sign.FAILED, Sign.LATE, Sign.STARTING, Sign.BUSY


@pytest.mark.parametrize(
    ("models", "loop_age_s", "fed", "words"),
    [
        ({"a 1.0.0": GOOD}, None, True, "serving a 1.0.0"),
        ({"b 1.0.0": GOOD, "a 2.0.0": GOOD}, 0.5, True, "serving a 2.0.0, b 1.0.0"),
        ({"a 1.0.0": LATE}, 0.5, False, "a 1.0.0 does not answer"),
        ({"a 1.0.0": GOOD, "b 1.0.0": LATE}, 0.5, False, "b 1.0.0 does not answer"),
        ({"a 1.0.0": FAILED}, 0.5, False, "a 1.0.0 answers wrongly or fails"),
        ({"a 1.0.0": BUSY}, 0.5, False, "for lack of room"),
        ({"a": STARTING, "b 1.0.0": GOOD}, None, False, "a is not ready"),
        ({}, 0.5, True, "nothing to serve yet"),
        ({}, LOOP_LIMIT_S + 1, False, "has not come round for 301 s"),
        ({"a 1.0.0": GOOD}, LOOP_LIMIT_S + 1, False, "has not come round"),
        ({"a 1.0.0": GOOD}, LOOP_LIMIT_S, True, "serving"),
        ({}, None, False, "nothing to serve"),
    ],
)
def test_fed_or_not(models: dict[str, Sign], loop_age_s: float | None, *, fed: bool, words: str) -> None:
    verdict = judge(Signs(models, loop_age_s))
    assert verdict.fed == fed
    assert words in verdict.status


def test_a_server_that_hangs_starves_the_watchdog() -> None:
    verdict = judge(Signs({"a 1.0.0": GOOD}, 0.5, server_turns=False))
    assert not verdict.fed
    assert "HTTP server" in verdict.status


def test_several_rounds_may_fail_before_the_watchdogs_time_is_over() -> None:
    assert round_s(60) * ROUNDS <= 60
    assert round_s(None) == round_s(10_000) == LONGEST_ROUND_S


def test_what_an_operator_unloaded_is_no_reason_for_a_restart() -> None:
    verdict = judge(Signs({}, unloaded=("tiny",)))
    assert verdict.fed
    assert verdict.status == "nothing to serve: tiny unloaded"
    assert not judge(Signs({})).fed
