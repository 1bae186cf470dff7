"""Whatever one enrolled device signs and sends, the others go on: numbers at the ends of their types, and beyond.

One device says it all with its own key; the other gets its rollout, and the lists and metrics of the fleet are read.
Then the liar is enrolled anew, and is as healthy as any other: what was said in its name before counts no longer.
"""

from __future__ import annotations

import json
import tempfile
import threading
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from edgemm import topics
from edgemm.messages import MOST_CONNECTIONS, MOST_REPORTS, Ack, decode_control, encode_control, most_boots
from edgemm.messages.generations import of_time
from edgemm.states import RolloutState
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType
from edgemm_fleet.api import devices as device_routes
from edgemm_fleet.api.messages import DeviceDetail, DevicesQuery, DeviceSummary
from edgemm_fleet.api.routes import Call
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.health.vitals import Vitals
from edgemm_fleet.ingest.doubts import settle
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.records import Page, Presence
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server.retention import Pruner, Retention
from edgemm_fleet.store import desired, devices, streams
from simulators.broker import FLEET, START, LocalFleet
from simulators.device import Outcome
from simulators.metrics import exposed

pytestmark = pytest.mark.fleet

LARGEST = 2**53 - 1
LIAR, HONEST = "aaa-liar", "honest"
NUMBERS = [-(2**63), -1, 0, 1, 7, 2**31, 2**32, 2**43, 2**52, LARGEST - 1, LARGEST, 2**53, 2**63 - 1, 2**63, 2**64]
YEAR_S = 366 * 86400
JUST_BELIEVED = [of_time(START + 10 * YEAR_S), most_boots(START), MOST_CONNECTIONS, MOST_REPORTS]
NUMBERS += [*JUST_BELIEVED, *(of_time(START + years * YEAR_S) for years in (15, 25))]
FRACTIONS = [0.0, -0.0, 5e-324, 0.5, 1.0, 1e9, 1e308, -1e308, float("inf"), float("-inf"), float("nan")]
TIMES = ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "2026-02-31T99:99:99Z"]
TEXTS = ["", "\0", "x" * 128, "x" * 1024, "\u202e", "committed", "desired", "0" * 64, "1.0.0", "999999999.0.0-999"]
OTHERS: list[Any] = [None, True, [], {}, [[]], {"": 0}]
VALUES = st.sampled_from([*NUMBERS, *FRACTIONS, *TIMES, *TEXTS, *OTHERS])
CHANNELS = {
    Channel.REPORTED: PayloadType.REPORTED,
    Channel.EVENT: PayloadType.EVENT,
    Channel.STATUS: None,
    Channel.TELEMETRY: None,
    Channel.ACK: None,
}
CHANGES = st.lists(st.tuples(st.integers(0, 200), VALUES), max_size=4)
LIES = st.lists(st.tuples(st.sampled_from(list(CHANNELS)), CHANGES, st.integers(0, 3), st.booleans()), max_size=12)


def honest_words(fleet: LocalFleet, channel: Channel) -> dict[str, Any]:
    """Return what the liar would say if it were honest, with something in every list, as plain values."""
    liar = fleet.devices[LIAR]
    digest, wire = "c" * 64, bytes(32)
    if channel is Channel.TELEMETRY:
        window: dict[str, Any] = msgspec.msgpack.decode(liar.measure().payload)
        counts = {"n": 5, "c": 4, "e": 0, "x": 0, "k": 0, "o": [{"o": "y", "n": 3, "c": [[0, 1, 1, 1]], "h": [1, 2]}]}
        model = {"m": "digits", "d": wire, "v": "tflite:int8", "r": 1, "e": 0, "s": 5, "l": [1, 2]}
        model |= {"w": [{"d": wire, "v": "onnx", **counts}], "y": {"m": 1, "c": 1}}
        gauges = {"t": 40.5, "l": 0.5, "m": 1, "d": 1, "r": 1, "p": 0, "w": 10}
        return window | {"m": [model], "s": gauges, "h": 0, "y": 1, "q": {"w": 1, "x": 0, "o": 0, "b": 4096}}
    if channel in {Channel.STATUS, Channel.ACK}:
        status: dict[str, Any] = json.loads(liar.connect()[0].payload)
        acks = {"acks": [{"boot": liar.boot, "stream": "event", "sequence": 1}]}
        return status if channel is Channel.STATUS else status | acks
    report: dict[str, Any] = json.loads(Envelope.from_dict(json.loads(liar.report().payload)).payload)
    if channel is Channel.REPORTED:
        shadow = {"digest": digest, "version": "2.0.0", "phase": "running", "reason": None, "detail": None}
        model = {"name": "digits", "state": "activating", "digest": digest, "version": "1.0.0", "attempt": 1}
        model |= {"active_digest": digest, "active_version": "1.0.0", "shadow": shadow}
        return report | {"models": [model], "actions": [{"id": "a", "ok": True, "detail": ""}]}
    kept = {name: report[name] for name in ("v", "fleet", "device", "boot", "boot_count", "time")}
    numbers = {"sequence": 1, "floor": 1, "uptime_s": 1.5, "attempt": 1}
    return kept | numbers | {"cause": "update", "detail": "", "model": "digits", "digest": digest, "to_state": "failed"}


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value inside another."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([where] if where else []), *(way for key, one in inside for way in places(one, (*where, key)))]


def changed(document: dict[str, Any], changes: list[tuple[int, Any]]) -> dict[str, Any]:
    """Put values into a document, three times of four where something of their kind is."""
    for number, value in changes:
        ways = places(document)
        alike = [way for way in ways if number % 4 and isinstance(at(document, way), _kinds(value))]
        *way, last = (alike or ways)[number % len(alike or ways)]
        at(document, tuple(way))[last] = deepcopy(value)  # a list must not come to lie in itself
    return document


def at(document: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        document = document[key]
    return document


def _kinds(value: Any) -> tuple[type, ...]:
    return (int, float) if isinstance(value, int | float) else (type(value),)


def message(fleet: LocalFleet, channel: Channel, document: dict[str, Any], *, retained: bool) -> Incoming:
    topic = topics.topic(FLEET, LIAR, channel)
    if channel is Channel.TELEMETRY:
        try:
            return Incoming(topic, msgspec.msgpack.encode(document), retained)
        except OverflowError:  # not even msgpack has room for it
            return Incoming(topic, b"\xc1", retained)
    body = json.dumps(document).encode()
    kind = CHANNELS[channel]
    if kind is None:
        return Incoming(topic, body, retained)
    envelope = Envelope(body, kind.value, {})
    envelope.sign(fleet.devices[LIAR].signer)
    return Incoming(topic, json.dumps(envelope.to_dict()).encode(), retained)


def hear(fleet: LocalFleet, batch: list[Incoming]) -> None:
    """Process a batch as the manager does; whatever is acknowledged can be written and read."""
    for acks in fleet.ingest.process(batch, now=fleet.now).values():
        for ack in acks:
            decode_control(encode_control(ack), Ack)


def retained_of(said: list[Incoming]) -> list[Incoming]:
    """Return what a broker keeps of what was said: the last on each topic that is retained."""
    kept = {one.topic: one for one in said if topics.parse(one.topic).channel in topics.RETAINED}
    return [Incoming(one.topic, one.payload, retained=True) for one in kept.values()]


def everybody_goes_on(fleet: LocalFleet) -> None:
    """The honest device gets what is rolled out to all, and people see the fleet."""
    fleet.devices[LIAR].silent = True
    rollout = fleet.run("1.0.0", Group(percent=100, success_threshold=0.5, error_threshold=1, deadline_s=60))
    assert fleet.running(HONEST) == "1.0.0"
    fleet.wait(5000)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    with fleet.store.write() as tx:
        settle(tx, now=fleet.now + 3600)
        desired.due(tx, now=fleet.now, limit=500)
        fleet.director.renew(tx, now=fleet.now + 5 * 86400)
    fleet.settle()
    assert fleet.store.quarantine.parts() == [], "nothing was written that cannot be read"
    read_lists(fleet)
    Pruner(fleet.store, Retention(), clock=lambda: fleet.now).prune(threading.Event())


def the_liar_recovers(fleet: LocalFleet, retained: list[Incoming], **honest: Any) -> None:
    """Enrolled anew, the liar is online and offline as it says, is heard, and gets what is rolled out."""
    fleet.readmit(LIAR, says=lambda: hear(fleet, retained), now=fleet.now, **honest)
    liar = fleet.devices[LIAR]
    assert presence(fleet).online
    assert presence(fleet).boot == liar.boot
    assert presence(fleet).doubted_at is None
    fleet.deliver([liar.measure(), liar.measure()])
    assert liar.unacknowledged() == []
    rollout = fleet.run("2.0.0", Group(percent=100, deadline_s=60))
    assert fleet.states(rollout) == {LIAR: "committed", HONEST: "committed"}
    assert fleet.running(LIAR) == "2.0.0"
    fleet.wait(1)
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert liar.unacknowledged() == []
    with fleet.store.read() as tx:
        told = [one.event.to_state for one in streams.page_events(tx, LIAR).items if one.event.rollout == rollout]
        windows = {
            one.telemetry.sequence: one.telemetry.time_s
            for one in streams.page_telemetry(tx, LIAR).items
            if one.telemetry.boot.hex() == liar.boot
        }
        refusals = desired.refusals(tx, [LIAR])
    assert sorted(map(str, told)) == sorted(Outcome.COMMIT.value[0]), "its own events, and none in their place"
    assert windows[1] == windows[2] == int(liar.now), "so are its windows"
    assert refusals == {}
    liar.connection -= 1
    fleet.deliver([liar.will()])
    assert not presence(fleet).online
    fleet.deliver(liar.connect())
    assert presence(fleet).online


def presence(fleet: LocalFleet) -> Presence:
    with fleet.store.read() as tx:
        return devices.get(tx, LIAR).presence


def read_lists(fleet: LocalFleet) -> None:
    state: Any = SimpleNamespace(store=fleet.store, vitals=Vitals(fleet.store, Hearing(), Path()))

    def call(**path: str) -> Call[Any, Any]:
        return Call(caller=None, path=path, query=DevicesQuery(), body=None, now=fleet.now, request=None)  # type: ignore[arg-type]

    page = msgspec.json.encode(device_routes.list_devices(state, call()))
    assert [item.device.id for item in msgspec.json.decode(page, type=Page[DeviceSummary]).items] == [LIAR, HONEST]
    for name in (LIAR, HONEST):
        detail = msgspec.json.encode(device_routes.get_device(state, call(device=name)))
        assert msgspec.json.decode(detail, type=DeviceDetail).device.id == name
    hearing = Hearing(fleet.ingest.counters.snapshot)
    assert "edgemm_fleet_devices_refusing" in exposed(fleet.store, fleet=FLEET, hearing=hearing)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(lies=LIES, batch=st.integers(1, 5))
def test_whatever_a_device_says_the_others_go_on(memory: Path, lies: list[Any], batch: int) -> None:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        fleet = LocalFleet(Path(folder))
        try:
            fleet.add(LIAR, HONEST)
            said = [
                message(fleet, channel, changed(honest_words(fleet, channel), changes), retained=retained)
                for channel, changes, copies, retained in lies
                for _ in range(copies + 1)
            ]
            for begin in range(0, len(said), batch):
                hear(fleet, said[begin : begin + batch])
            everybody_goes_on(fleet)
            the_liar_recovers(fleet, retained_of(said))
        finally:
            fleet.store.close()


@pytest.mark.parametrize("value", [LARGEST, 2**53 - 2**43, 0, *JUST_BELIEVED])
@pytest.mark.parametrize(
    "field", ["generation", "boot_count", "sequence", "connection", "attempt", "every number at once"]
)
def test_a_number_at_the_end_of_its_type_is_its_devices_own(tmp_path: Path, field: str, value: int) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add(LIAR, HONEST)
    numbers = ("generation", "boot_count", "sequence", "connection")
    said = list[Incoming]()
    for channel in (Channel.REPORTED, Channel.EVENT, Channel.STATUS):
        document = honest_words(fleet, channel)
        for name in numbers if field == "every number at once" else [field]:
            if name in document:
                document[name] = value
        if field == "attempt" and channel is Channel.REPORTED:
            document["models"][0]["attempt"] = value
        said.append(message(fleet, channel, document, retained=False))
        hear(fleet, said[-1:])
        fleet.settle()
    everybody_goes_on(fleet)
    fleet.restart()
    the_liar_recovers(fleet, retained_of(said))
    assert fleet.running(HONEST) == "2.0.0"
    fleet.store.close()


@pytest.mark.parametrize("years", [9, 15, 19, 25, 29])
def test_a_generation_years_ahead_holds_nobody_up(tmp_path: Path, years: int) -> None:
    """The device goes on to be honest, is not enrolled anew, and is told what it takes."""
    fleet = LocalFleet(tmp_path)
    fleet.add(LIAR, HONEST)
    fleet.run("1.0.0", Group(percent=100))
    document = honest_words(fleet, Channel.REPORTED) | {"generation": of_time(START + years * YEAR_S)}
    hear(fleet, [message(fleet, Channel.REPORTED, document, retained=False)])
    fleet.settle()
    second = fleet.run("2.0.0", Group(percent=100, deadline_s=60, success_threshold=0.5, error_threshold=1))
    fleet.wait(100)
    assert fleet.rollout(second).state is RolloutState.FINISHED
    fleet.deliver([fleet.devices[LIAR].report()])
    fleet.wait(100)
    third = fleet.run("3.0.0", Group(percent=100, deadline_s=60))
    assert fleet.states(third) == {LIAR: "committed", HONEST: "committed"}
    fleet.store.close()


def test_a_member_that_cannot_be_told_ends_at_its_deadline(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add(LIAR, HONEST)
    fleet.run("1.0.0", Group(percent=100))
    fleet.devices[LIAR].refuses = "desired_implausible"
    half = Group(percent=100, deadline_s=60, success_threshold=0.5, error_threshold=1)
    for version in ("2.0.0", "3.0.0"):
        rollout = fleet.run(version, half)
        assert fleet.states(rollout) == {LIAR: "refused", HONEST: "committed"}
        fleet.wait(61)
        assert fleet.rollout(rollout).state is RolloutState.FINISHED
    fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    fleet.wait(30 * 86400)
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert fleet.running(HONEST) == "2.0.0"
    fleet.store.close()
