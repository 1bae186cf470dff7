"""Whatever a later version says, and in whatever order: nothing that is restricted starts, and nothing else is lost."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgemm.messages import ModelConfig, Reported, ReportedModel, VariantPolicy, decode_control, encode_control
from edgemm.open_enum import MAX_WORD
from edgemm.states import UpdateState
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.events import (
    Activated,
    Event,
    Fetched,
    Passed,
    Prepared,
    Proceed,
    Restarted,
    RolledBack,
    SelfTested,
    Stopping,
    Unwanted,
    Wanted,
)
from simulators.device_records import VARIANT, fresh, run, told, wanted, way_to_commit
from tests.golden.wire import REPORTED

pytestmark = pytest.mark.core

words = st.text(min_size=1, max_size=MAX_WORD)
LATER = [{}, {}, {"config": ModelConfig(requires=("window",))}, {"variants": VariantPolicy("fastest")}]
STEPS = [Prepared(VARIANT), Fetched(), SelfTested(), Proceed(), Activated(), Passed(), RolledBack()]
wishes = st.builds(
    lambda version, attempt, later: Wanted(wanted(version, attempt, **later)),
    st.sampled_from(["1.0.0", "2.0.0"]), st.integers(1, 2), st.sampled_from(LATER),
)  # fmt: skip
events: st.SearchStrategy[Event] = st.one_of(
    wishes, st.sampled_from([*STEPS, Unwanted(), Restarted(), Stopping()]), st.sampled_from(STEPS)
)
_ENDING = {UpdateState.REJECTED, UpdateState.ROLLING_BACK, UpdateState.ROLLED_BACK, UpdateState.FAILED}


@given(st.lists(events, max_size=60))
def test_nothing_that_is_restricted_goes_on(happened: list[Event]) -> None:
    record = fresh()
    for event in happened:
        before, record = record, machine.decide(told(record), event)
        if record.update is not None and record.update.target.unknown:
            assert record.update.state in _ENDING
            assert record.active in {before.active, None} or record.active == before.previous
        if isinstance(event, Wanted):
            assert record.active == before.active


@given(words, st.booleans())
def test_an_update_in_any_later_state_ends_at_a_start_and_what_was_active_stays(word: str, first: bool) -> None:
    assume(word not in set(UpdateState))
    before = fresh() if first else run(fresh(), Wanted(wanted("1.0.0")), *way_to_commit())
    left = run(told(before), Wanted(wanted("2.0.0")), Prepared(VARIANT))
    assert left.update is not None
    left = told(replace(left, update=replace(left.update, state=UpdateState(word))))
    ended = machine.decide(left, Restarted())
    assert machine.is_over(ended)
    assert (ended.active, ended.previous) == (before.active, before.previous)
    again = run(ended, Wanted(wanted("2.0.0", 2)), *way_to_commit())
    assert again.active is not None
    assert again.active.version == "2.0.0"


@given(st.lists(words, min_size=1, max_size=5))
def test_a_report_with_any_words_is_read_and_written_back_as_it_came(said: list[str]) -> None:
    (known,) = REPORTED.models
    data = encode_control(replace(REPORTED, models=tuple(replace(known, state=UpdateState(word)) for word in said)))
    report = decode_control(data, Reported)
    assert [model.state for model in report.models] == said
    assert encode_control(report) == data
    assert msgspec.json.decode(msgspec.json.encode(report.models[0]), type=ReportedModel) == report.models[0]
