"""Any order, loss and repetition of what a device hears leads to a legal state, and to the same end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm import times
from edgemm.messages import Desired, DesiredModel
from edgemm.reasons import Reason
from edgemm.states import TERMINAL, UpdateState, may_follow
from edgemm_runtime.agent.acceptance import Acceptance, Whom, judge
from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.events import (
    Activated,
    Event,
    Fetched,
    Lost,
    Passed,
    Prepared,
    Proceed,
    Restarted,
    RolledBack,
    SelfTested,
    Stopping,
    Trouble,
    Unwanted,
    Wanted,
)
from edgemm_runtime.agent.update.machine import Step
from simulators.device_records import VARIANT, fresh, told, wanted

pytestmark = pytest.mark.runtime

REASONS = ["no_space", "untrusted", "selftest_failed", "errors", "superseded", "stopped", "damaged"]
NOW = TrustedTime(times.from_text("2027-01-02T00:00:00Z"), clock_synced=True)
WHOM = Whom("home", "pi")
BAD = "6.6.6"
"""A version whose self-test fails."""

models = st.builds(wanted, st.sampled_from(["1.0.0", "2.0.0", "3.0.0"]), st.integers(1, 2))
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Wanted, models),
    st.builds(Trouble, st.sampled_from(REASONS)),
    st.builds(Lost, st.just("rotten")),
    st.sampled_from(
        [
            Unwanted(), Prepared(VARIANT), Fetched(), SelfTested(), Proceed(), Activated(), Passed(), RolledBack(),
            Restarted(), Stopping(),
        ]
    ),
)  # fmt: skip


@given(st.lists(events, max_size=60))
def test_any_events_lead_along_legal_transitions(happened: list[Event]) -> None:
    record = fresh()
    for event in happened:
        before, record = record, machine.decide(told(record), event)
        changed = [t for t in record.pending if t.from_state is not None and t.to_state is not None]
        assert all(may_follow(t.from_state, t.to_state) for t in changed if t.from_state and t.to_state)
        assert [t.serial for t in record.pending] == list(range(before.serial + 1, record.serial + 1))
        if record.active != before.active:
            assert isinstance(event, Passed | Lost | Unwanted)
        assert (machine.step(record) is None) == (record.update is None)
        assert record.active is None or record.active in machine.keeps(record)


def _answer(record: ModelFile) -> Event | None:  # noqa: PLR0911 - a table
    """Return what a step leads to on a device on which everything but `BAD` works."""
    assert record.update is not None
    match machine.step(record):
        case Step.PREPARE:
            return Prepared(VARIANT)
        case Step.FETCH:
            return Fetched()
        case Step.SELF_TEST:
            return Trouble(Reason.SELFTEST_FAILED) if record.update.target.version == BAD else SelfTested()
        case Step.PROCEED:
            return Proceed()
        case Step.ACTIVATE:
            return Activated()
        case Step.WATCH:
            return Passed()
        case Step.ROLL_BACK:
            return RolledBack()
    return None


def _desired(generation: int, version: str | None) -> Desired:
    models = (wanted(version),) if version else ()
    return Desired(
        fleet="home", device="pi", generation=generation, not_before="2027-01-01T00:00:00Z",
        expires="2027-01-09T00:00:00Z", models=models,
    )  # fmt: skip


class _Device:
    """The pure parts of a device, put together."""

    def __init__(self) -> None:
        self.record, self.current = fresh(), None

    current: Desired | None

    def hear(self, desired: Desired) -> None:
        if judge(desired, self.current, whom=WHOM, now=NOW) is Acceptance.ACCEPTED:
            self.current = desired

    def step(self) -> bool:
        """Obey the wish, then take one step; False where there is none."""
        self.record = self._obeyed()
        event = _answer(self.record) if self.record.update else None
        if event is None:
            return self._obeyed() != self.record
        self.record = told(machine.decide(self.record, event))
        return True

    def _obeyed(self) -> ModelFile:
        if self.current is None:
            return self.record
        wish: DesiredModel | None = self.current.models[0] if self.current.models else None
        return machine.decide(self.record, Wanted(wish) if wish else Unwanted())

    def restart(self) -> None:
        self.record = machine.decide(self.record, Restarted())

    def settle(self) -> None:
        for _ in range(100):
            if not self.step():
                return
        raise AssertionError(f"never comes to rest: {self.record}")


def _at_rest(device: _Device) -> tuple[UpdateState, str | None, str | None]:
    update, active = device.record.update, device.record.active
    assert update is None or update.state in TERMINAL
    state = machine.state(device.record)
    return state, update.target.version if update else None, active.version if active else None


@given(
    wishes=st.lists(st.sampled_from(["1.0.0", "2.0.0", BAD, None]), min_size=1, max_size=6),
    final=st.sampled_from(["1.0.0", "2.0.0"]),
    data=st.data(),
)
def test_any_order_loss_and_repetition_of_desired_ends_the_same(
    wishes: list[str | None], final: str, data: st.DataObject
) -> None:
    sent = [_desired(generation, version) for generation, version in enumerate([*wishes, final], start=1)]
    device = _Device()
    deliveries = data.draw(st.lists(st.sampled_from(sent), max_size=12))
    for delivery in deliveries:
        device.hear(delivery)
        for _ in range(data.draw(st.integers(0, 8))):
            device.step()
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            device.restart()
    device.hear(sent[-1])
    device.settle()
    state, version, active = _at_rest(device)
    if state is UpdateState.ROLLED_BACK:
        # Three restarts on probation are three losses of power, remembered against this attempt.
        assert device.record.update is not None
        assert device.record.update.reason == "power_loss"
    elif state is UpdateState.FAILED:
        assert device.record.update is not None
        assert device.record.update.reason == "power_loss"
    else:
        assert (state, version, active) == (UpdateState.COMMITTED, final, final)


@given(st.lists(st.sampled_from(["1.0.0", "2.0.0", BAD]), min_size=1, max_size=6), st.data())
def test_a_bad_version_never_becomes_active(wishes: list[str], data: st.DataObject) -> None:
    device = _Device()
    for generation, version in enumerate(wishes, start=1):
        device.hear(_desired(generation, version))
        for _ in range(data.draw(st.integers(0, 12))):
            device.step()
            assert device.record.active is None or device.record.active.version != BAD
