"""Presence in the store: what nobody signed is doubted, the device is asked, and what it signs counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgemm import topics
from edgemm.messages import MOST_CONNECTIONS, Status, encode_control, most_boots
from edgemm.topics import Channel
from edgemm_fleet.ingest.doubts import settle
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.records import Presence
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import desired, devices
from simulators.broker import FLEET, START, LocalFleet

CAM, OTHER = "cam-1", "cam-2"
STRANGE = "f" * 16


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add(CAM, OTHER)
    fleet.run("1.0.0", Group(percent=100))
    assert presence(fleet).doubted_at is None
    yield fleet
    fleet.store.close()


def presence(fleet: LocalFleet, device: str = CAM) -> Presence:
    with fleet.store.read() as tx:
        return devices.get(tx, device).presence


def forge(fleet: LocalFleet, *, retained: bool = False, **fields: Any) -> None:
    numbers: dict[str, Any] = {"online": False, "boot": STRANGE, "boot_count": most_boots(START)}
    numbers |= {"connection": MOST_CONNECTIONS}
    status = Status(**numbers | fields)
    topic = topics.topic(FLEET, CAM, Channel.STATUS)
    fleet.ingest.process([Incoming(topic, encode_control(status), retained)], now=fleet.now)


def pass_time(fleet: LocalFleet, seconds: float) -> None:
    """Let time pass in steps of the manager's clock, with what is sent and answered meanwhile."""
    for _ in range(int(seconds)):
        fleet.now += 1
        with fleet.store.write() as tx:
            settle(tx, now=fleet.now)
        fleet.settle()


FORGERIES = [
    {},
    {"boot_count": 2},
    {"boot": "own", "connection": MOST_CONNECTIONS},
    {"boot": "own", "boot_count": 1, "connection": 1},
    {"online": True},
]


def forged(fleet: LocalFleet, fields: dict[str, Any]) -> dict[str, Any]:
    return fields | ({"boot": fleet.devices[CAM].boot} if fields.get("boot") == "own" else {})


@pytest.mark.parametrize("fields", FORGERIES)
@pytest.mark.parametrize("tells", [True, False])
def test_what_nobody_signed_does_not_outlive_a_report(fleet: LocalFleet, fields: dict[str, Any], tells: bool) -> None:
    device = fleet.devices[CAM]
    device.tells_connection = tells
    forge(fleet, **forged(fleet, fields))
    fleet.deliver([device.report()])
    assert (presence(fleet).online, presence(fleet).boot) == (True, device.boot)
    assert presence(fleet).doubted_at is None
    will = device.will()
    device.connect()
    fleet.deliver([device.report()])
    fleet.deliver([will])
    assert not presence(fleet).online, "its own will counts again"
    assert presence(fleet, OTHER).online


@pytest.mark.parametrize("fields", FORGERIES)
def test_what_nobody_signed_does_not_outlive_a_new_connection(fleet: LocalFleet, fields: dict[str, Any]) -> None:
    forge(fleet, **forged(fleet, fields))
    fleet.deliver(fleet.devices[CAM].connect())
    assert presence(fleet).online
    assert presence(fleet).duplicate_at is None


@pytest.mark.parametrize("fields", FORGERIES[:3])
def test_a_device_that_says_nothing_by_itself_is_asked(fleet: LocalFleet, fields: dict[str, Any]) -> None:
    pass_time(fleet, 31)
    fleet.sent.clear()
    forge(fleet, **forged(fleet, fields))
    assert not presence(fleet).online
    pass_time(fleet, 5)
    assert presence(fleet).online
    assert fleet.sent == [CAM]


def test_a_forged_will_of_the_current_connection_is_doubted_once_the_device_is_heard(fleet: LocalFleet) -> None:
    pass_time(fleet, 31)
    forge(fleet, boot=fleet.devices[CAM].boot, boot_count=1, connection=1)
    pass_time(fleet, 10)
    assert not presence(fleet).online
    fleet.deliver([fleet.devices[CAM].measure()])
    pass_time(fleet, 5)
    assert presence(fleet).online


def test_a_device_that_is_gone_does_not_seem_there_for_long(fleet: LocalFleet) -> None:
    device = fleet.devices[CAM]
    fleet.deliver([device._status(online=False, connection=1)])
    assert not presence(fleet).online
    device.silent = True
    forge(fleet, online=True, boot=device.boot, boot_count=1, connection=2)
    assert presence(fleet).online, "a device that connects says no more than that, at first"
    pass_time(fleet, 100)
    assert not presence(fleet).online
    assert presence(fleet).doubted_at is None


def test_a_device_that_is_heard_and_does_not_answer_is_not_asked_all_the_time(fleet: LocalFleet) -> None:
    device = fleet.devices[CAM]
    fleet.deliver([device._status(online=False, connection=1)])
    device.silent = True
    fleet.sent.clear()
    for _ in range(300):
        fleet.deliver([device.measure()])
        pass_time(fleet, 1)
    assert 3 <= len(fleet.sent) <= 300 / 30 + 1


def test_a_status_that_a_stranger_had_retained_does_not_outlive_a_start_of_the_manager(fleet: LocalFleet) -> None:
    device = fleet.devices[CAM]
    pass_time(fleet, 31)
    last = device.report()
    fleet.deliver([last])
    forge(fleet, retained=True)
    fleet.ingest.process([Incoming(last.topic, last.payload, retained=True)], now=fleet.now)
    assert not presence(fleet).online
    pass_time(fleet, 5)
    assert presence(fleet).online


def test_a_report_that_was_retained_does_not_bring_a_device_back_that_has_gone(fleet: LocalFleet) -> None:
    device = fleet.devices[CAM]
    device.connection += 1
    report, will = device.report(), device._status(online=False, connection=device.connection)
    device.silent = True
    for message in (will, report):  # the manager was away meanwhile, and hears of both in any order
        fleet.ingest.process([Incoming(message.topic, message.payload, retained=True)], now=fleet.now)
    assert not presence(fleet).online
    pass_time(fleet, 100)
    assert not presence(fleet).online


def test_a_device_that_dies_within_a_batch_is_gone(fleet: LocalFleet) -> None:
    device = fleet.devices[CAM]
    fleet.deliver([device.report(), device._status(online=False, connection=1)])
    assert not presence(fleet).online


def test_a_device_of_which_nothing_was_ever_wanted_is_back_at_its_next_report(fleet: LocalFleet) -> None:
    fleet.add("cam-3")
    topic = topics.topic(FLEET, "cam-3", Channel.STATUS)
    forged = Status(online=False, boot=STRANGE, boot_count=2, connection=1)
    fleet.ingest.process([Incoming(topic, encode_control(forged))], now=fleet.now)
    pass_time(fleet, 100)
    assert not presence(fleet, "cam-3").online
    fleet.deliver([fleet.devices["cam-3"].report()])
    assert presence(fleet, "cam-3").online


def test_doubts_of_one_device_send_nothing_to_others(fleet: LocalFleet) -> None:
    pass_time(fleet, 31)
    forge(fleet)
    with fleet.store.write() as tx:
        settle(tx, now=fleet.now + 10)
        assert desired.unsent_devices(tx, limit=10) == [CAM]
