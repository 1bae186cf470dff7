"""Devices, and a database, of a later version: what the manager does not know is shown, and affects itself alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import update

from edgemm.errors import BadRequestError, ConflictError
from edgemm.messages import ModelConfig, ReportedShadow, ShadowPhase, VariantPolicy
from edgemm.states import RolloutState, UpdateState
from edgemm.trust.signing import PayloadType
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan, Selector
from edgemm_fleet.store import reported, rollouts, schema, streams
from simulators import member_counting
from simulators.broker import MODEL, START, LocalFleet, digest_of
from simulators.device import Outcome, Outgoing

EVERYBODY = Group(percent=100, deadline_s=600)
LATER_PLANS = [{"requires": ("gate.drift",)}, {"config": ModelConfig(requires=("window",))}]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    """Three devices that run version 1."""
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-0", "cam-1", "cam-2")
    fleet.run("1.0.0", EVERYBODY)
    yield fleet
    fleet.store.close()


def _later(fleet: LocalFleet, name: str, state: str, *, reason: str | None = None) -> Outgoing:
    """Return a device's report of its model in a state of a later version."""
    device = fleet.devices[name]
    shadow = ReportedShadow(digest="e" * 64, version="9.0.0", phase=ShadowPhase("paused"))
    device.reported[MODEL] = replace(device.reported[MODEL], state=UpdateState(state), reason=reason, shadow=shadow)
    return device.report()


def _stored(fleet: LocalFleet, plan: RolloutPlan, state: RolloutState) -> str:
    """Leave a rollout in the database as a later manager does."""
    started = state not in {RolloutState.DRAFT, RolloutState.READY}
    progress = GroupProgress(started_at=START, deadline_at=START + 600) if started else GroupProgress()
    rollout = Rollout(
        id="r-later", plan=plan, state=state, reason=None, created_by="person:ann", created_at=START,
        changed_at=START, deadline_at=None, groups=(progress,) * len(plan.groups),
    )  # fmt: skip
    with fleet.store.write() as tx:
        rollouts.add(tx, rollout)
    return rollout.id


def _set_state(fleet: LocalFleet, rollout: str, device: str, state: str) -> None:
    mine = (schema.members.c.rollout == rollout) & (schema.members.c.device == device)
    with fleet.store.write() as tx:
        tx.execute(update(schema.members).where(mine).values(state=state))
        member_counting.count_anew(tx, rollout)


def test_a_state_that_is_not_known_is_shown_and_is_neither_a_success_nor_an_end(fleet: LocalFleet) -> None:
    fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", replace(EVERYBODY, success_threshold=1.0))
    fleet.deliver([_later(fleet, "cam-0", "held", reason="outside_window")])
    with fleet.store.read() as tx:
        (told,) = reported.of(tx, ["cam-0"])["cam-0"].reported.models
    assert (told.state, told.reason) == ("held", "outside_window")
    assert isinstance(told.shadow, ReportedShadow)
    assert told.shadow.phase == "paused"
    member = fleet.members(rollout)["cam-0"]
    assert (member.state, member.update_state) == (MemberState.REACHED, "held")
    assert fleet.rollout(rollout).state is RolloutState.RUNNING
    assert {fleet.states(rollout)[name] for name in ("cam-1", "cam-2")} == {"committed"}
    fleet.wait(601)
    assert (fleet.states(rollout)["cam-0"], fleet.members(rollout)["cam-0"].reason) == ("failed", "deadline")
    assert fleet.rollout(rollout).state is RolloutState.HALTED


def test_a_device_that_leaves_the_later_state_is_judged_as_ever(fleet: LocalFleet) -> None:
    fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", replace(EVERYBODY, success_threshold=1.0))
    fleet.deliver([_later(fleet, "cam-0", "held")])
    fleet.deliver(fleet.devices["cam-0"].finish(MODEL))
    assert fleet.states(rollout)["cam-0"] == "committed"
    assert fleet.rollout(rollout).state is RolloutState.FINISHED


def test_a_reason_that_is_not_known_is_an_error_unless_the_rollout_tolerates_it(fleet: LocalFleet) -> None:
    for tolerated, expected in (((), "failed"), (("outside_window",), "excused")):
        fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
        rollout = fleet.run("2.0.0", replace(EVERYBODY, error_threshold=1.0), tolerated_rejections=tolerated)
        fleet.deliver([_later(fleet, "cam-0", "rejected", reason="outside_window")])
        member = fleet.members(rollout)["cam-0"]
        assert (member.state, member.reason) == (expected, "outside_window")
        fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
        fleet.settle()


def test_an_event_of_a_later_state_is_stored_as_any_other(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-0"]
    (wanted,) = device._desired.models if device._desired else ()
    sent = device._transition(wanted, UpdateState("checked"), UpdateState("held"))
    fleet.deliver([sent])
    with fleet.store.read() as tx:
        (newest, *_) = streams.page_events(tx, "cam-0").items
    assert (newest.event.from_state, newest.event.to_state) == ("checked", "held")
    assert not [key for key in device._spool if key[1] == newest.event.sequence], "it is acknowledged"


def test_an_envelope_of_a_later_kind_is_refused_alone(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-0"]
    report = device.report()
    later = report.payload.replace(PayloadType.REPORTED.encode(), b"application/vnd.edgemm.summary.v1+json")
    before = fleet.ingest.counters.snapshot().get("refused_malformed", 0)
    fleet.deliver([Outgoing(report.topic, later, retain=True), _later(fleet, "cam-1", "held")])
    assert fleet.ingest.counters.snapshot()["refused_malformed"] == before + 1
    with fleet.store.read() as tx:
        assert reported.of(tx, ["cam-1"])["cam-1"].reported.models[0].state == "held"


@pytest.mark.parametrize("later", [*LATER_PLANS, {"variants": VariantPolicy("fastest")}], ids=str)
def test_a_plan_that_needs_more_does_not_start(fleet: LocalFleet, later: dict[str, object]) -> None:
    plan = fleet.plan("2.0.0", EVERYBODY, **later)
    with pytest.raises(BadRequestError, match=r"it needs .*, which edgemm .* does not know"):
        fleet.operations.create(plan, actor="person:ann", now=fleet.now)
    rollout = _stored(fleet, plan, RolloutState.DRAFT)
    with pytest.raises(ConflictError, match=r"r-later: it needs .*, which edgemm .* does not know"):
        fleet.operations.start(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.DRAFT
    assert {fleet.wanted(name) for name in fleet.devices} == {"1.0.0"}


@pytest.mark.parametrize("later", LATER_PLANS, ids=str)
def test_one_that_runs_halts_by_name_and_takes_the_version_back(fleet: LocalFleet, later: dict[str, object]) -> None:
    for device in fleet.devices.values():
        device.outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    other = fleet.run("3.0.0", replace(EVERYBODY, deadline_s=10_000), selector=Selector(devices=("cam-2",)))
    rollout = fleet.run("2.0.0", EVERYBODY, selector=Selector(devices=("cam-0", "cam-1")))
    with fleet.store.write() as tx:
        plan = replace(rollouts.get(tx, rollout).plan, **later)
        text = msgspec.json.encode(plan).decode()
        tx.execute(update(schema.rollouts).where(schema.rollouts.c.id == rollout).values(plan_json=text))
    fleet.restart()
    fleet.wait(1)
    stored = fleet.rollout(rollout)
    assert stored.state is RolloutState.HALTED
    assert (stored.reason or "").startswith("unsupported: it needs ")
    assert [fleet.wanted(name) for name in ("cam-0", "cam-1")] == ["1.0.0", "1.0.0"]
    assert fleet.rollout(other).state is RolloutState.FINISHED


def test_a_rollout_in_a_later_state_is_shown_and_left_alone(fleet: LocalFleet) -> None:
    rollout = _stored(fleet, fleet.plan("2.0.0", EVERYBODY), RolloutState("held"))
    fleet.wait(100_000)
    with fleet.store.read() as tx:
        assert [one.state for one in rollouts.page(tx).items if one.id == rollout] == ["held"]
        assert rollouts.state_counts(tx)[RolloutState("held")] == 1
    for act in (fleet.operations.start, fleet.operations.cancel, fleet.operations.roll_back):
        with pytest.raises(ConflictError, match="is held, a state that edgemm .* does not know"):
            act(rollout, actor="person:ann", now=fleet.now)
    with pytest.raises(ConflictError, match="rollout r-later of digits 2.0.0 runs and may have the same devices"):
        fleet.run("3.0.0", EVERYBODY)
    assert {fleet.wanted(name) for name in fleet.devices} == {"1.0.0"}


def test_a_member_in_a_later_state_counts_in_neither_rate_and_is_left_alone(fleet: LocalFleet) -> None:
    fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    fleet.devices["cam-1"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", replace(EVERYBODY, success_threshold=1.0))
    _set_state(fleet, rollout, "cam-0", "parked")
    fleet.deliver(fleet.devices["cam-0"].finish(MODEL))
    assert fleet.states(rollout)["cam-0"] == "parked"
    assert fleet.rollout(rollout).state is RolloutState.RUNNING
    fleet.deliver(fleet.devices["cam-1"].finish(MODEL))
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    fleet.wait(100_000)
    assert fleet.states(rollout)["cam-0"] == "parked"


def test_a_halt_takes_the_version_back_from_a_member_in_a_later_state(fleet: LocalFleet) -> None:
    fleet.devices["cam-0"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    fleet.devices["cam-1"].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", replace(EVERYBODY, success_threshold=1.0))
    _set_state(fleet, rollout, "cam-0", "parked")
    fleet.operations.halt(rollout, actor="person:ann", reason="stop", now=fleet.now)
    fleet.settle()
    assert fleet.wanted("cam-0") == "1.0.0"
    assert fleet.states(rollout)["cam-0"] == "parked"
