"""docs/states.md says what may follow what."""

import re
from collections.abc import Mapping

import pytest

from edgemm.reasons import Reason
from edgemm.states import FAILURES, FOLLOWS, ROLLOUT_FOLLOWS, TERMINAL, RolloutState, UpdateState
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
    said = [word for heading in ("Reasons", "Causes", "Doubts", "Reasons of members") for word in _words(heading)]
    assert sorted(said) == sorted(Reason)


def test_every_reason_that_a_variant_is_skipped_for_is_a_reason() -> None:
    assert {skip.value for skip in SkipReason} <= set(Reason)


def test_every_refusal_of_a_desired_is_explained() -> None:
    text = PAGE.read_text()
    assert [answer for answer in Acceptance if answer.refused and f"`{answer.value}`" not in text] == []


def _words(heading: str) -> list[str]:
    return [row[0].strip("`") for row in tables(PAGE)[heading]]
