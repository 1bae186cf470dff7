"""A device whose number of starts once ran ahead is heard again at once, and nothing of before comes back with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemm.messages import Stream
from edgemm.topics import Channel
from edgemm_fleet.ingest.doubts import settle
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.records import DesiredRefusal, Presence, ReportedRecord
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import desired, devices, reported, streams
from simulators.broker import FLEET, START, LocalFleet
from simulators.device import Outgoing, SimulatedDevice

pytestmark = pytest.mark.fleet
EVERYBODY = Group(percent=100, deadline_s=60)
AHEAD = int(START) + 2 * 366 * 86400
HOUR = 3600
KEPT = ("boot_count", "generation", "installs", "active", "reported", "_desired", "_failed", "_results")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    fleet.run("1.0.0", EVERYBODY)
    fleet.wait(HOUR)
    yield fleet
    fleet.store.close()


def image(device: SimulatedDevice) -> dict[str, object]:
    """Copy a device's card."""
    return {name: copy(getattr(device, name)) for name in KEPT}


def put_back(device: SimulatedDevice, card: dict[str, object]) -> None:
    for name, value in card.items():
        setattr(device, name, copy(value))
    device.restart()


def ran_ahead(fleet: LocalFleet) -> SimulatedDevice:
    """Start a device once with a clock that is two years ahead."""
    device = fleet.devices["cam-1"]
    device.boot_count = AHEAD
    device.restart()
    fleet.connect("cam-1")
    fleet.wait(HOUR)
    return device


def newest(fleet: LocalFleet) -> ReportedRecord:
    with fleet.store.read() as tx:
        found = reported.find(tx, "cam-1")
    assert found is not None
    return found


def shown(fleet: LocalFleet) -> tuple[Presence, DesiredRefusal | None]:
    with fleet.store.read() as tx:
        return devices.get(tx, "cam-1").presence, desired.refusals(tx, ["cam-1"]).get("cam-1")


def reports(messages: list[Outgoing]) -> list[Outgoing]:
    return [one for one in messages if one.topic.endswith(f"/{Channel.REPORTED.value}")]


@pytest.mark.parametrize("old", [False, True], ids=["device", "device of an earlier version"])
@pytest.mark.parametrize("restored", [False, True], ids=["its number lost", "its card restored"])
def test_it_is_heard_as_soon_as_it_answers(fleet: LocalFleet, restored: bool, old: bool) -> None:
    device = fleet.devices["cam-1"]
    device.old = old
    card = image(device)
    ran_ahead(fleet)
    device.connection -= 1
    gone = device.will()
    if restored:
        fleet.run("2.0.0", EVERYBODY)
        fleet.wait(HOUR)
        put_back(device, card)
    else:
        device.boot_count = int(START) + 86400
        device.restart()
    fleet.deliver([gone, *device.connect()])
    presence, refusal = shown(fleet)
    assert not presence.online
    assert refusal is not None
    assert refusal.cause == "reports_older"
    assert f"its start {device.boot_count} reports below the number of one before, {AHEAD + 1}" in refusal.detail
    assert fleet.ingest.counters.snapshot()["ignored_reported"] == 1

    fleet.settle()
    presence, refusal = shown(fleet)
    assert (presence.online, presence.boot, presence.doubted_at) == (True, device.boot, None)
    assert refusal is None
    assert newest(fleet).reported.boot == device.boot
    rollout = fleet.run("3.0.0", EVERYBODY)
    assert fleet.rollout(rollout).state == "finished"
    fleet.deliver([device.measure()])
    assert device.unacknowledged() == []
    with fleet.store.read() as tx:
        stream = streams.StreamKey("cam-1", device.boot, Stream.TELEMETRY)
        assert streams.positions_of(tx, [stream]) == {stream: (1, 1, 0)}
    device.connection -= 1
    fleet.deliver([device.will()])
    assert not shown(fleet)[0].online


def test_a_rollout_that_runs_meanwhile_waits_for_it(fleet: LocalFleet) -> None:
    device = ran_ahead(fleet)
    device.silent = True
    rollout = fleet.run("2.0.0", EVERYBODY)
    device.boot_count = int(START)
    device.restart()
    fleet.connect("cam-1")
    assert (fleet.running("cam-1"), fleet.rollout(rollout).state) == ("2.0.0", "finished")


def test_what_was_signed_under_the_higher_numbers_does_not_come_back(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.boot_count = AHEAD
    device.restart()
    before = device.connect()
    fleet.deliver(before)
    fleet.settle()
    unheard = [device.report() for _ in range(3)]  # a hostile broker kept these
    fleet.wait(HOUR)
    device.boot_count = int(START)
    device.restart()
    fleet.connect("cam-1")
    fleet.run("2.0.0", EVERYBODY)
    for replayed in [*reports(before), *unheard]:
        fleet.wait(HOUR)
        fleet.deliver([replayed])
        fleet.settle()
        assert newest(fleet).reported.boot == device.boot
        assert newest(fleet).reported.models[0].active_version == "2.0.0"


def test_replays_of_a_device_that_is_away_are_answered_ever_more_rarely(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    replayed = reports(device.connect())
    fleet.deliver(replayed)
    device.restart()
    fleet.connect("cam-1")
    fleet.deliver([device.will()])
    device.silent = True
    fleet.wait(HOUR)
    before, fleet.sent = newest(fleet), []
    with fleet.store.read() as tx:
        told = desired.find(tx, "cam-1")
    generations = set()
    for _ in range(HOUR // 3):
        fleet.now += 1
        fleet.deliver(replayed)
        fleet.send()
        with fleet.store.write() as tx:
            settle(tx, now=fleet.now)
            found = desired.find(tx, "cam-1")
        assert found is not None
        generations.add(found.desired.generation)
    assert told is not None
    assert len(generations - {told.desired.generation}) == 1, "nobody has echoed it: there is no reason for another"
    assert len(fleet.sent) <= HOUR / 3 / 30 + 10  # a doubt is asked about each 30 s
    assert newest(fleet) == before


def test_two_with_one_identity_draw_no_more_than_an_answer_each_minute(fleet: LocalFleet) -> None:
    low, high = fleet.devices["cam-1"], None
    high = SimulatedDevice(FLEET, "cam-1", signer=low.signer, director=low.director)
    high.boot_count = AHEAD
    high.restart()
    fleet.sent = []
    for turn in range(600):
        fleet.devices["cam-1"] = high if turn % 2 else low
        fleet.connect("cam-1")
        fleet.wait(1)
    assert len(fleet.sent) <= 2 * 600 / 60 + 10


def test_a_device_of_which_nothing_was_wanted_is_heard_with_the_first_rollout(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    device = ran_ahead(fleet)
    device.boot_count = int(START)
    device.restart()
    fleet.connect("cam-1")
    assert fleet.sent == []
    assert fleet.ingest.counters.snapshot()["ignored_reported"] == 1
    assert fleet.rollout(fleet.run("1.0.0", EVERYBODY)).state == "finished"
    assert newest(fleet).reported.boot == device.boot
    fleet.store.close()


def test_what_the_broker_retains_of_before_draws_no_answer(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    (kept,) = reports(device.connect())
    device.restart()
    fleet.connect("cam-1")
    fleet.wait(HOUR)
    fleet.sent = []
    fleet.ingest.process([Incoming(kept.topic, kept.payload, retained=True)], now=fleet.now)
    fleet.settle()
    assert (fleet.sent, fleet.ingest.counters.snapshot()["ignored_reported"]) == ([], 0)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_replays_of_old_reports_change_nothing_in_the_end(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    calm = _end(tmp_path_factory.mktemp("calm"), random.Random(seed), replays=lambda _: [])
    rng = random.Random(seed)
    assert (
        _end(tmp_path_factory.mktemp("replayed"), random.Random(seed), replays=lambda said: rng.choices(said, k=3))
        == calm
    )


def _end(folder: Path, rng: random.Random, *, replays: Callable[[list[Outgoing]], list[Outgoing]]) -> object:
    """Roll versions out to a device that starts ahead and whose card is put back; return what is known of it."""
    fleet, heard = LocalFleet(folder), list[Outgoing]()

    def note(messages: list[Outgoing]) -> list[Outgoing]:
        heard.extend(reports(messages))
        return messages

    fleet.disturb = note
    fleet.add("cam-1")
    device = fleet.devices["cam-1"]
    cards, states = [image(device)], []
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        match rng.randrange(4):
            case 0:
                device.boot_count += rng.choice([10, 1000])
                device.restart()
            case 1:
                put_back(device, rng.choice(cards))
            case 2:
                cards.append(image(device))
        fleet.connect("cam-1")
        rollout = fleet.run(version, EVERYBODY)
        if heard:
            fleet.ingest.process([Incoming(one.topic, one.payload) for one in replays(heard)], now=fleet.now)
        for _ in range(3):
            fleet.wait(HOUR)
            fleet.connect("cam-1")
        states.append(fleet.rollout(rollout).state)
    found, presence = newest(fleet).reported, shown(fleet)[0]
    fleet.store.close()
    assert found.boot == device.boot
    return states, found.boot, [(one.active_version, one.state) for one in found.models], presence.online


@pytest.mark.parametrize("after_s", [0, 5, 20, 29, 31, 90])
def test_it_is_heard_however_short_ago_it_was_told_something(fleet: LocalFleet, after_s: int) -> None:
    device = ran_ahead(fleet)
    fleet.run("2.0.0", EVERYBODY)
    fleet.now += after_s
    device.boot_count = int(START)
    device.restart()
    fleet.connect("cam-1")
    assert newest(fleet).reported.boot == device.boot
