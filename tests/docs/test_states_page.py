"""docs/states.md says what may follow what."""

import re
from collections.abc import Mapping

import pytest

from edgemm.reasons import Reason
from edgemm.states import FAILURES, FOLLOWS, ROLLOUT_FOLLOWS, TERMINAL, RolloutState, UpdateState
from edgemm_fleet.records.waiting import DAY_S, WAITS
from edgemm_runtime.agent.acceptance import Acceptance
from edgemm_runtime.engines.choice import SkipReason
from tests.docs.pages import DOCS, tables

PAGE = DOCS / "states.md"


@pytest.mark.parametrize(
    ("heading", "states", "follows"),
    [
        ("Update of a model on a device", UpdateState, FOLLOWS),
        ("Rollout", RolloutState, ROLLOUT_FOLLOWS),
    ],
)
def test_the_table_is_that_of_the_code(
    heading: str,
    states: type[UpdateState | RolloutState],
    follows: Mapping[UpdateState | RolloutState, frozenset[UpdateState | RolloutState]],
) -> None:
    said = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in tables(PAGE)[heading]}
    assert said == {state.value: {after.value for after in follows[state]} for state in states}


def test_a_state_is_called_terminal_and_a_failure_where_it_is_one() -> None:
    for name, meaning, _ in tables(PAGE)["Update of a model on a device"]:
        state = UpdateState(name.strip("`"))
        assert ("terminal" in meaning, "a failure" in meaning) == (state in TERMINAL, state in FAILURES)


def test_the_tables_of_reasons_are_the_enum() -> None:
    headings = ("Reasons", "Causes", "Doubts", "Reasons of rollouts", "Reasons of members")
    said = [word for heading in headings for word in _words(heading)]
    assert sorted(said) == sorted(Reason)


def test_the_table_of_waiting_has_the_limits_and_ends_of_the_code() -> None:
    said = {row[0].strip("`"): (float(row[1].split()[0]), row[2].strip("`")) for row in tables(PAGE)["Waiting"]}
    assert said == {kind.value: (limit.limit_s / DAY_S, limit.then.value) for kind, limit in WAITS.items()}


def test_each_state_of_a_rollout_that_is_not_final_has_an_end() -> None:
    ends = {word for row in tables(PAGE)["Ends of the other states"] for word in re.findall(r"`(\w+)`", row[0])}
    over = {RolloutState.HALTED, RolloutState.FINISHED}  # a person may go on from there; nothing waits for one
    final = {state for state, follows in ROLLOUT_FOLLOWS.items() if not follows} | over
    assert ends == {state.value for state in RolloutState} - final - {"paused"}


def test_every_reason_that_a_variant_is_skipped_for_is_a_reason() -> None:
    assert {skip.value for skip in SkipReason} <= set(Reason)


def test_every_refusal_of_a_desired_is_explained() -> None:
    text = PAGE.read_text()
    assert [answer for answer in Acceptance if answer.refused and f"`{answer.value}`" not in text] == []


def _words(heading: str) -> list[str]:
    return [row[0].strip("`") for row in tables(PAGE)[heading]]
