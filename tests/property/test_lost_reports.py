"""A broker that drops what it has no room for loses reports: in the end each device is heard all the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edgemm.errors import EnvironmentFailure
from edgemm.reasons import Reason
from edgemm.states import UpdateState
from edgemm_fleet.ingest.unheard import tells
from edgemm_fleet.records.records import DesiredRefusal
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import desired, devices, streams
from edgemm_fleet.store import reported as reports
from simulators.broker import LocalFleet
from simulators.device import Outcome, Outgoing

pytestmark = pytest.mark.fleet
EVERYBODY = Group(percent=100, deadline_s=100_000, error_threshold=1, success_threshold=0)
NAMES = ("cam-1", "cam-2", "cam-3")
ENDS = {Outcome.COMMIT: "committed", Outcome.ERRORS: "failed", Outcome.SELFTEST_FAILED: "failed"}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=20),
    st.lists(st.sampled_from(list(ENDS)), min_size=len(NAMES), max_size=len(NAMES)),
)
@example([True], [False], [Outcome.COMMIT] * 3)
@example([True], [True], [Outcome.ERRORS] * 3)
def test_whatever_reports_and_events_are_lost_each_device_is_heard(
    lost_reports: list[bool], lost_events: list[bool], outcomes: list[Outcome]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = LocalFleet(Path(folder))
        fleet.add(*NAMES)
        for device, outcome in zip(fleet.devices.values(), outcomes, strict=True):
            device.default = outcome
        counts = {"reported": 0, "event": 0}

        def arrives(message: Outgoing) -> bool:
            channel = message.topic.rpartition("/")[2]
            lost = {"reported": lost_reports, "event": lost_events}.get(channel, [False])
            counts[channel] = counts.get(channel, 0) + 1
            return not lost[counts[channel] % len(lost)]

        fleet.disturb = lambda messages: [message for message in messages if arrives(message)]
        rollout = fleet.run("1.0.0", EVERYBODY)
        fleet.disturb = list
        for device in fleet.devices.values():
            fleet.deliver(device.unacknowledged())  # as a device does after 30 s
        for _ in range(3):
            fleet.now += 31
            with fleet.store.write() as tx:
                fleet.ingest.unheard.ask(tx, now=fleet.now)
            fleet.settle()
        wanted = {name: ENDS[outcome] for name, outcome in zip(NAMES, outcomes, strict=True)}
        assert fleet.states(rollout) == wanted
        with fleet.store.write() as tx:
            assert fleet.ingest.unheard.ask(tx, now=fleet.now + 3600) == 0, "nobody is asked for ever"
        fleet.store.close()


def test_nobody_is_asked_whose_report_is_on_its_way(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES)
    rollout = fleet.run("1.0.0", EVERYBODY)
    assert set(fleet.states(rollout).values()) == {"committed"}
    before = list(fleet.sent)
    for _ in range(20):
        fleet.now += 3
        with fleet.store.write() as tx:
            assert fleet.ingest.unheard.ask(tx, now=fleet.now) == 0
        fleet.settle()
    assert fleet.sent == before


def _lose_reports(fleet: LocalFleet) -> None:
    fleet.disturb = lambda messages: [one for one in messages if not one.topic.endswith("/reported")]


def test_those_whose_report_is_missing_wait_on_where_the_transaction_is_undone(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES)
    _lose_reports(fleet)
    fleet.run("1.0.0", EVERYBODY)
    for _ in range(3):
        fleet.now += 31
        with pytest.raises(EnvironmentFailure), fleet.store.write() as tx:
            assert fleet.ingest.unheard.ask(tx, now=fleet.now) == len(NAMES)
            raise EnvironmentFailure("the disk is full")
    with fleet.store.write() as tx:
        assert fleet.ingest.unheard.ask(tx, now=fleet.now) == len(NAMES)
    with fleet.store.write() as tx:
        assert fleet.ingest.unheard.ask(tx, now=fleet.now) == 0, "they are asked"
    fleet.store.close()


def test_nobody_is_asked_for_what_cannot_be_told(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES)
    _lose_reports(fleet)
    fleet.run("1.0.0", EVERYBODY)
    with fleet.store.write() as tx:
        desired.note_refusal(tx, NAMES[0], DesiredRefusal(cause=Reason.DESIRED_TOO_LARGE, generation=1, at=fleet.now))
    fleet.now += 31
    with fleet.store.write() as tx:
        assert fleet.ingest.unheard.ask(tx, now=fleet.now) == len(NAMES) - 1
    fleet.store.close()


@pytest.mark.parametrize(
    ("reported", "event", "told"),
    [
        ("activating", "verified", True),
        ("verified", "verified", True),
        ("verified", "activating", False),
        ("rolling_back", "probation", True),
        ("failed", "probation", True),
        ("probation", "committed", False),
        ("of later", "verified", False),
        ("probation", "of later", False),
    ],
)
def test_a_report_tells_what_is_past_in_it(tmp_path: Path, *, reported: str, event: str, told: bool) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    fleet.devices["cam-1"].default = Outcome.SLOW_DOWNLOAD
    fleet.run("1.0.0", EVERYBODY)
    with fleet.store.read() as tx:
        report = reports.of(tx, ["cam-1"])["cam-1"].reported
        said = streams.page_events(tx, "cam-1").items[0].event
    (model,) = report.models
    report = replace(report, models=(replace(model, state=UpdateState(reported)),))
    assert tells(report, replace(said, to_state=UpdateState(event))) is told
    fleet.store.close()


def test_an_event_of_a_start_that_none_can_have_begins_nothing(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.disturb = lambda _: []
    fleet.add("cam-1")
    fleet.disturb = list
    device = fleet.devices["cam-1"]
    right, device.boot_count = device.boot_count, 2**52
    fleet.deliver([device._event("agent_started")])
    assert not _online(fleet)
    device.boot_count = right
    fleet.deliver(device.connect())
    assert _online(fleet)
    fleet.deliver([device.will()])
    assert not _online(fleet)
    fleet.store.close()


def test_the_event_of_its_start_shows_a_device_whose_first_words_were_lost(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.disturb = lambda _: []
    fleet.add("cam-1")
    fleet.disturb = list
    device = fleet.devices["cam-1"]
    assert not _online(fleet)
    started = device._event("agent_started")
    fleet.deliver([started])
    assert _online(fleet)
    fleet.deliver([device.will()])  # of the connection after this one
    assert not _online(fleet)
    fleet.deliver([started])
    assert not _online(fleet), "it had come before"
    device.restart()
    fleet.deliver([device._event("agent_started")])
    assert _online(fleet), "of a newer start"
    fleet.deliver(device.connect())
    fleet.deliver([started])
    with fleet.store.read() as tx:
        presence = devices.get(tx, "cam-1").presence
    assert (presence.online, presence.boot, presence.connection) == (True, device.boot, 1)


def _online(fleet: LocalFleet) -> bool:
    with fleet.store.read() as tx:
        return devices.get(tx, "cam-1").presence.online
