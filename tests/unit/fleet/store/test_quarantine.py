"""Rows that cannot be read: they cost their device, are named, and heal where something new is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from edgemm.errors import MessageError
from edgemm.messages import Action, DesiredModel, DesiredShadow, Reported
from edgemm_fleet.records import json_text
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import (
    Store,
    actions,
    assignments,
    desired,
    devices,
    reported,
    rollouts,
    shadows,
    streams,
)
from edgemm_fleet.store.quarantine import Quarantine
from simulators.broker import FLEET, MODEL, LocalFleet, digest_of
from simulators.device import Outcome
from simulators.metrics import exposed

ALL = Group(percent=100, success_threshold=0.5, error_threshold=1, deadline_s=60)
BAD, GOOD = "aaa", "honest"
OTHER = DesiredModel(name="other", version="1.0.0", digest=digest_of("1.0.0"))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    """Two devices that run 1.0.0, each with something in every table."""
    fleet = LocalFleet(tmp_path)
    fleet.add(BAD, GOOD)
    with fleet.store.write() as tx:
        assignments.assign(tx, dict.fromkeys((BAD, GOOD), OTHER))
        shadows.put(tx, [BAD, GOOD], MODEL, DesiredShadow(version="3.0.0", digest=digest_of("3.0.0")))
        for device in (BAD, GOOD):
            actions.add(tx, device, Action(id=f"of-{device}", kind="diagnose"), now=fleet.now)
    fleet.run("1.0.0", ALL)
    fleet.deliver([device.measure() for device in fleet.devices.values()])
    yield fleet
    fleet.store.close()


def damage(fleet: LocalFleet, table: str, column: str, value: Any) -> None:
    """Write over the column of the bad device, as a disk does that loses a page, or an edgemm with a defect."""
    key = "id" if table == "devices" else "device"
    with fleet.store.write() as tx:
        done = tx.execute(text(f'UPDATE "{table}" SET "{column}" = :value WHERE {key} = :device'),
                          {"value": value, "device": BAD})  # fmt: skip
        assert done.rowcount


def look(fleet: LocalFleet) -> dict[str, list[str]]:
    """Read all that people are shown; return the parts that could not be read, by device."""
    with fleet.store.read() as tx:
        ids = [device.id for device in devices.page(tx).items]
        assert ids == [BAD, GOOD]
        for of_all in (reported.of, desired.of, assignments.of, shadows.of):
            of_all(tx, ids)
        for device in ids:
            streams.page_events(tx, device)
            streams.page_telemetry(tx, device)
            actions.page(tx, device)
        for rollout in rollouts.page(tx).items:
            rollouts.page_members(tx, rollout.id)
    found: dict[str, list[str]] = {}
    for device, part in fleet.store.quarantine.parts():
        found.setdefault(device, []).append(part)
    return found


DAMAGE = [
    ("desired", "desired_json", "{", "desired"),
    ("desired", "desired_json", b"\xff\xfe", "desired"),
    ("desired", "desired_json", 5, "desired"),
    ("reported", "reported_json", "{}", "reported"),
    pytest.param("reported", "highest_generation", "many", "reported", marks=pytest.mark.sqlite),
    pytest.param("reported", "received_at", "now", "reported", marks=pytest.mark.sqlite),
    ("devices", "labels_json", "[1]", "labels"),
    ("devices", "key_json", "null", "key"),
    pytest.param("devices", "boot_count", "many", "presence", marks=pytest.mark.sqlite),
    pytest.param("devices", "enrolled_at", "then", "times", marks=pytest.mark.sqlite),
    ("assignments", "desired_json", "", "assignment of digits"),
    ("shadows", "shadow_json", '{"share": 7}', "shadow of digits"),
    ("actions", "kind", "x" * 1000, "actions"),
    ("members", "previous_json", "{", "member of a rollout"),
    ("events", "event_json", "{", "events"),
    ("latest", "window", b"\xc1", "telemetry"),
]


@pytest.mark.parametrize(("table", "column", "value", "part"), DAMAGE)
def test_a_row_that_cannot_be_read_costs_its_device_alone(
    fleet: LocalFleet, table: str, column: str, value: Any, part: str
) -> None:
    damage(fleet, table, column, value)
    found = look(fleet)
    assert part in found.pop(BAD)
    assert found == {}
    assert "edgemm_fleet_unreadable 0.0" not in exposed(fleet.store, fleet=FLEET)
    rollout = fleet.run("2.0.0", ALL)
    fleet.deliver(fleet.devices[BAD].connect())
    fleet.settle()
    fleet.wait(61)
    assert fleet.running(GOOD) == "2.0.0"
    assert fleet.rollout(rollout).state == "finished"
    with fleet.store.write() as tx:
        fleet.director.renew(tx, now=fleet.now + 6 * 86400)
    back = fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now).id
    fleet.settle()
    fleet.wait(5000)
    assert fleet.running(GOOD) == "1.0.0"
    assert fleet.rollout(back).state == "rolled_back"


@pytest.mark.parametrize("part", ["desired", "reported"])
def test_what_a_device_is_told_and_says_is_written_anew_by_itself(fleet: LocalFleet, part: str) -> None:
    damage(fleet, part, f"{part}_json", "{")
    assert look(fleet)[BAD]
    fleet.deliver(fleet.devices[BAD].connect())
    fleet.run("2.0.0", ALL)
    assert fleet.running(BAD) == "2.0.0"
    assert look(fleet) == {}


def test_a_device_of_which_something_wanted_is_lost_is_told_nothing_that_would_stop_it(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        tx.execute(text("UPDATE assignments SET desired_json = '{' WHERE device = 'aaa' AND model = 'other'"))
    before = fleet.devices[BAD].generation
    rollout = fleet.run("2.0.0", ALL)
    assert (fleet.running(BAD), fleet.devices[BAD].generation) == ("1.0.0", before)
    member = fleet.members(rollout)[BAD]
    assert (member.state, member.reason) == ("excused", "unreadable")
    assert fleet.running(GOOD) == "2.0.0"
    with fleet.store.write() as tx:  # as another rollout of that model does
        assignments.assign(tx, {BAD: OTHER})
    fleet.run("3.0.0", ALL)
    assert fleet.running(BAD) == "3.0.0"
    assert look(fleet) == {}


def test_labels_that_cannot_be_read_match_nothing_and_can_be_given_again(fleet: LocalFleet) -> None:
    damage(fleet, "devices", "labels_json", "{")
    fleet.run("2.0.0", ALL)
    assert (fleet.running(BAD), fleet.running(GOOD)) == ("1.0.0", "2.0.0")
    with fleet.store.write() as tx:
        devices.set_labels(tx, BAD, {"site": "hall"})
    fleet.run("3.0.0", ALL)
    assert fleet.running(BAD) == "3.0.0"


def test_messages_of_a_device_whose_key_is_lost_are_refused_by_that_reason(fleet: LocalFleet) -> None:
    damage(fleet, "devices", "key_json", "{")
    fleet.deliver([fleet.devices[BAD].report(), fleet.devices[GOOD].report()])
    counts = fleet.ingest.counters.snapshot()
    assert (counts["refused_quarantined"], counts["refused_untrusted"]) == (1, 0)


def test_a_member_that_cannot_be_read_is_excused_at_its_deadline(fleet: LocalFleet) -> None:
    fleet.devices[BAD].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    rollout = fleet.run("2.0.0", ALL)
    damage(fleet, "members", "previous_json", "{")
    fleet.wait(61)
    assert fleet.rollout(rollout).state == "finished"
    with fleet.store.read() as tx:
        states = tx.execute(
            text("SELECT state, reason FROM members WHERE device = 'aaa' AND rollout = :r"), {"r": rollout}
        )
        assert states.one() == ("excused", "unreadable")


@pytest.mark.parametrize("attempt", [2**53 - 1, pytest.param("many", marks=pytest.mark.sqlite), -1])
def test_attempts_without_a_number_above_them_begin_again(fleet: LocalFleet, attempt: Any) -> None:
    fleet.devices[BAD].outcomes[digest_of("2.0.0")] = Outcome.ERRORS
    fleet.run("2.0.0", ALL)
    damage(fleet, "attempts", "attempt", attempt)
    fleet.wait(61)
    fleet.run("2.0.0", ALL)
    assert fleet.running(GOOD) == "2.0.0"


def test_what_could_not_be_read_back_is_not_written(fleet: LocalFleet) -> None:
    with fleet.store.read() as tx:
        report = reported.find(tx, BAD)
    assert report is not None
    fields = {name: getattr(report.reported, name) for name in Reported.__struct_fields__}
    with pytest.raises(MessageError, match=r"Reported: it could not be read back.*\$.generation"):
        json_text.written(Reported(**fields | {"generation": 2**53}))


def test_a_desired_that_could_not_be_read_back_is_not_written_and_its_device_named(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        before = desired.of(tx, [BAD, GOOD])
        told = before[BAD].desired
        fields = {name: getattr(told, name) for name in told.__struct_fields__}
        bad = replace(before[BAD], desired=type(told)(**fields | {"generation": 2**53}))
        assert desired.put(tx, [bad, before[GOOD]]) == {BAD}
    with fleet.store.read() as tx:
        assert desired.of(tx, [BAD, GOOD])[BAD] == before[BAD]


def test_a_row_is_told_of_in_the_log_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    unreadable = Quarantine(monotonic=lambda: now[0])
    for seconds in (0, 60, 3599, 3601, 3700):
        now[0] = seconds
        unreadable.note("cam-1", "desired", "Input data was truncated")
    assert caplog.text.count("row_unreadable device='cam-1' part='desired'") == 2


def test_a_database_that_is_damaged_all_over_takes_no_more_memory(caplog: pytest.LogCaptureFixture) -> None:
    unreadable = Quarantine()
    for number in range(3000):
        unreadable.note(f"cam-{number}", "desired", "x" * 10_000)
        unreadable.note("cam-1", f"assignment of m{number}", "x")
    assert len(unreadable.parts()) == 1000 + 99
    assert len(caplog.records) < 1200


def test_the_quarantine_is_one_for_all_transactions_of_a_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "fleet.db")
    from edgemm_fleet.store.quarantine import quarantine

    with store.read() as reading:
        assert quarantine(reading) is store.quarantine
    with store.write() as writing:
        assert quarantine(writing) is store.quarantine
    store.close()


def test_a_plan_that_cannot_be_read_is_left_out_of_plans(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        (good,) = (one.id for one in rollouts.page(tx).items)
    bad = fleet.run("2.0.0", ALL)
    with fleet.store.write() as tx:
        tx.execute(text("UPDATE rollouts SET plan_json = '{' WHERE id = :id"), {"id": bad})
        assert list(rollouts.plans(tx, [good, bad])) == [good]
    assert fleet.store.quarantine.of(f"rollout {bad}")
