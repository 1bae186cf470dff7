from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from edgemm import topics
from edgemm.errors import EnvironmentFailure
from edgemm.messages import MAX_TELEMETRY_BYTES, Ack, Action, decode_telemetry, encode_control
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.ingest import stream_positions
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.refused_messages import RefusedMessage
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import Transaction, actions, desired, devices, reported, schema, streams
from edgemm_fleet.store.history import history_tables, windows
from simulators.broker import FLEET, LocalFleet
from simulators.device import Outgoing, SimulatedDevice
from simulators.metrics import exposed


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", "cam-2")
    yield fleet
    fleet.store.close()


@pytest.fixture(autouse=True)
def keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every window, not one in ten."""
    monkeypatch.setattr(windows, "_KEPT_OF", 1)


def process(fleet: LocalFleet, *messages: Outgoing | Incoming) -> dict[str, tuple[Ack, ...]]:
    return fleet.ingest.process([Incoming(m.topic, m.payload) for m in messages], now=fleet.now)


def acked(acks: dict[str, tuple[Ack, ...]], device: str) -> list[int]:
    return [one.sequence for ack in acks.get(device, ()) for one in ack.acks]


def stored_windows(fleet: LocalFleet, device: str) -> list[int]:
    with fleet.store.read() as tx:
        return sorted(record.telemetry.sequence for record in streams.page_telemetry(tx, device).items)


def test_only_what_is_stored_without_a_gap_is_acknowledged(fleet: LocalFleet) -> None:
    windows = [fleet.devices["cam-1"].measure() for _ in range(5)]
    assert acked(process(fleet, windows[0], windows[1]), "cam-1") == [2]
    assert acked(process(fleet, windows[3], windows[4]), "cam-1") == [2], "the third is missing"
    assert acked(process(fleet, windows[2]), "cam-1") == [3, 5], "what came, and all that it completes"
    assert stored_windows(fleet, "cam-1") == [1, 2, 3, 4, 5]


def test_what_is_given_again_until_it_is_stored_counts_once(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, shedding = fleet.store.write, fleet.ingest.shedding
    window = fleet.devices["cam-1"].measure()
    noise = Incoming(window.topic, b"noise")

    @contextmanager
    def full() -> Iterator[Transaction]:
        with write() as tx:
            yield tx
            raise EnvironmentFailure("the disk is full")

    before = fleet.ingest.counters.snapshot()
    with monkeypatch.context() as patched:
        patched.setattr(fleet.store, "write", full)
        for _ in range(60):
            with pytest.raises(EnvironmentFailure):
                process(fleet, window, noise)
    assert fleet.ingest.counters.snapshot() == before
    assert shedding.cut_off() == frozenset()
    assert "ingest_refused" not in caplog.text
    assert acked(process(fleet, window, noise), "cam-1") == [1]
    counts = fleet.ingest.counters.snapshot()
    assert counts["received_telemetry"] == before["received_telemetry"] + 1
    assert counts["refused_malformed"] == 1
    assert caplog.text.count("ingest_refused") == 1


def test_what_comes_twice_is_stored_once_and_acknowledged_again(fleet: LocalFleet) -> None:
    window = fleet.devices["cam-1"].measure()
    for _ in range(3):
        assert acked(process(fleet, window, window), "cam-1") == [1]
    assert stored_windows(fleet, "cam-1") == [1]


def test_a_window_is_kept_as_it_came_with_what_a_later_device_adds(fleet: LocalFleet) -> None:
    sent = fleet.devices["cam-1"].measure()
    later = msgspec.msgpack.encode(msgspec.msgpack.decode(sent.payload) | {"z": "later"})
    assert acked(process(fleet, Incoming(sent.topic, later)), "cam-1") == [1]
    with fleet.store.read() as tx:
        assert tx.execute(select(history_tables.latest.c.window)).scalar_one() == later
    assert stored_windows(fleet, "cam-1") == [1]


def test_each_boot_is_numbered_on_its_own(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    first = device.measure()
    device.restart()
    second = device.measure()
    acks = process(fleet, second, first)
    assert acked(acks, "cam-1") == [1, 1]
    assert len({one.boot for ack in acks["cam-1"] for one in ack.acks}) == 2


def test_an_ack_makes_the_device_drop_exactly_what_is_stored(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    windows = [device.measure() for _ in range(3)]
    for ack in process(fleet, windows[0], windows[2])["cam-1"]:
        device.receive(topics.topic(FLEET, "cam-1", Channel.ACK), encode_control(ack))
    assert device.unacknowledged() == windows[1:]


@pytest.mark.parametrize("number", [1000, 2**53 - 1])
def test_a_made_up_number_in_telemetry_does_not_keep_the_devices_own_from_being_acknowledged(
    fleet: LocalFleet, number: int
) -> None:
    device = fleet.devices["cam-1"]
    true = device.measure()
    window = msgspec.msgpack.decode(true.payload) | {"n": number, "f": number}
    process(fleet, Incoming(true.topic, msgspec.msgpack.encode(window)))
    for message in (true, device.measure()):
        sequence = decode_telemetry(message.payload).sequence
        assert sequence in acked(process(fleet, message), "cam-1"), "which it believes, having sent so many"


def forged(fleet: LocalFleet, device: str, *, topic_of: str) -> Outgoing:
    """Return a report of one device, put on the topic of another."""
    report = fleet.devices[device].report()
    return Outgoing(topics.topic(FLEET, topic_of, Channel.REPORTED), report.payload)


@pytest.mark.parametrize(
    "bad", ["other key", "other device's topic", "not JSON", "too large", "newer version", "stranger"]
)
def test_what_cannot_be_trusted_is_refused_and_counted_and_changes_nothing(fleet: LocalFleet, bad: str) -> None:
    topic = topics.topic(FLEET, "cam-1", Channel.REPORTED)
    with fleet.store.read() as tx:
        before = reported.find(tx, "cam-1")
    impostor = SimulatedDevice(FLEET, "cam-1", CryptoSigner.generate_ed25519(), [])
    stranger = SimulatedDevice(FLEET, "nobody", CryptoSigner.generate_ed25519(), [])
    message, counter = {
        "other key": (impostor.report(), "refused_untrusted"),
        "other device's topic": (forged(fleet, "cam-2", topic_of="cam-1"), "refused_untrusted"),
        "not JSON": (Outgoing(topic, b"\xff{"), "refused_malformed"),
        "too large": (Outgoing(topic, b" " * 40_000), "refused_malformed"),
        "newer version": (
            Outgoing(topics.topic(FLEET, "cam-1", Channel.STATUS), b'{"v":2,"online":true}'),
            "refused_malformed",
        ),
        "stranger": (stranger.report(), "refused_unknown_device"),
    }[bad]
    good = fleet.devices["cam-2"].measure()
    assert acked(process(fleet, message, good), "cam-2") == [1], "the rest of the batch is stored"
    assert fleet.ingest.counters.snapshot()[counter] == 1
    with fleet.store.read() as tx:
        assert reported.find(tx, "cam-1") == before


def test_a_topic_of_another_fleet_or_shard_is_refused(fleet: LocalFleet) -> None:
    payload = fleet.devices["cam-1"].report().payload
    shard = topics.shard("cam-2")
    for topic in (f"edgemm/v1/{FLEET}/{shard}/cam-1/reported", topics.topic("other", "cam-1", Channel.REPORTED)):
        process(fleet, Incoming(topic, payload))
    assert fleet.ingest.counters.snapshot()["refused_malformed"] == 2


def test_a_removed_device_is_not_listened_to(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        devices.remove(tx, "cam-1", now=fleet.now)
    assert process(fleet, fleet.devices["cam-1"].measure()) == {}
    assert stored_windows(fleet, "cam-1") == []


def test_an_older_report_that_comes_late_changes_nothing_but_the_highest_generation(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.generation = 9
    late = device.report()
    device.generation = 0
    newer = device.report()
    process(fleet, newer)
    process(fleet, late)
    with fleet.store.read() as tx:
        record = reported.find(tx, "cam-1")
    assert record is not None
    assert (record.reported.generation, record.highest_generation) == (0, 9)


def test_a_device_with_another_generation_is_told_again(fleet: LocalFleet) -> None:
    fleet.run("1.0.0", Group(percent=100))
    device = fleet.devices["cam-1"]
    told, device.generation = device.generation, 0
    fleet.sent.clear()
    fleet.deliver(device.connect())
    fleet.settle()
    assert fleet.sent == ["cam-1"]
    assert device.generation == told


def test_after_a_restored_backup_a_new_generation_lies_above_what_devices_reported(fleet: LocalFleet) -> None:
    fleet.run("1.0.0", Group(percent=100))
    device = fleet.devices["cam-1"]
    device.generation = lost = device.generation + 41_000_000
    fleet.deliver(device.connect())
    fleet.settle()
    assert device.generation > lost
    with fleet.store.read() as tx:
        record = desired.find(tx, "cam-1")
    assert record is not None
    assert record.desired.generation == device.generation


def test_an_action_is_asked_for_once_and_its_result_kept(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        actions.add(tx, "cam-1", Action(id="a-1", kind="selftest"), now=fleet.now)
        fleet.director.write(tx, ["cam-1"], now=fleet.now)
    fleet.settle()
    with fleet.store.read() as tx:
        assert [(r.action.id, r.ok) for r in actions.recent(tx, "cam-1", limit=10)] == [("a-1", True)]
        assert actions.waiting(tx, ["cam-1"]) == {}
        record = desired.find(tx, "cam-1")
    assert record is not None
    assert record.desired.actions == ()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1" * 5000,
        b'{"payload": 5, "payloadType": "x", "signatures": []}',
        b'{"payload": "", "payloadType": "\\ud800", "signatures": [{}]}',
        b'{"payload": "", "payloadType": "TYPE", "signatures": 5}',
        b'{"payload": "", "payloadType": "TYPE", "signatures": [{"keyid": [], "sig": ""}]}',
        b'{"payload": "", "payloadType": "TYPE", "signatures": [{"keyid": "KEY", "sig": 7}]}',
        b'{"payload": "", "payloadType": "TYPE", "signatures": [{"keyid": "KEY", "sig": "AA=="}]}',
        b'{"payload": "", "payloadType": "TYPE", "signatures": [{"keyid": "KEY", "sig": "AA==", "x": 1e400}]}',
        b"[" * 20_000,
    ],
)
def test_an_envelope_of_whatever_shape_is_refused_and_holds_up_nobody(fleet: LocalFleet, body: bytes) -> None:
    key = fleet.devices["cam-1"].signer.public_key.keyid.encode()
    said = body.replace(b"TYPE", PayloadType.REPORTED.value.encode()).replace(b"KEY", key)
    bad = Incoming(topics.topic(FLEET, "cam-1", Channel.REPORTED), said)
    assert acked(process(fleet, bad, fleet.devices["cam-2"].measure()), "cam-2") == [1]
    counts = fleet.ingest.counters.snapshot()
    assert counts["refused_malformed"] + counts["refused_untrusted"] == 1


def test_behind_a_gap_no_more_is_read_however_much_is_stored(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_positions, "_LOOKED_AT", 4)
    read: list[int] = []
    events_above = streams.events_above

    def counting(*args: Any, **options: Any) -> list[int]:
        found = events_above(*args, **options)
        read.append(len(found))
        return found

    monkeypatch.setattr(streams, "events_above", counting)
    device = fleet.devices["cam-1"]
    events = [device._event("update") for _ in range(30)]
    for event in events[1:]:
        assert acked(process(fleet, event), "cam-1") == [0]
    assert max(read) == 4
    assert acked(process(fleet, events[0]), "cam-1") == [1, 30]


def test_of_windows_behind_a_gap_so_many_are_remembered_and_the_others_come_again(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_positions, "_REMEMBERED", 8)
    sent = [fleet.devices["cam-1"].measure() for _ in range(12)]
    for window in sent[1:] + sent[1:]:
        assert acked(process(fleet, window), "cam-1") == [0]
    assert stored_windows(fleet, "cam-1") == [*range(2, 9), 12], "and the newest"
    assert acked(process(fleet, sent[0]), "cam-1") == [1, 8]
    assert acked(process(fleet, *sent[8:]), "cam-1") == [12]
    assert stored_windows(fleet, "cam-1") == [*range(1, 13)]


def test_of_one_device_so_many_starts_are_remembered_and_no_more(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_positions, "_MOST_STREAMS", 4)
    device = fleet.devices["cam-1"]
    first = device.measure()
    process(fleet, first, fleet.devices["cam-2"].measure())
    for _ in range(9):
        device.restart()
        assert acked(process(fleet, device.measure()), "cam-1") == [1]
    with fleet.store.read() as tx:
        kept = tx.execute(select(schema.positions.c.device)).scalars().all()
    assert sorted(kept) == ["cam-1"] * 4 + ["cam-2"]
    assert acked(process(fleet, first), "cam-1") == [1], "what comes again of a start that was forgotten"
    assert len(stored_windows(fleet, "cam-1")) == 10


def test_a_report_with_a_number_without_room_above_it_changes_nothing(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    device.boot_count = 2**53 - 1
    process(fleet, device.report())
    assert fleet.ingest.counters.snapshot()["refused_implausible"] == 1
    device.boot_count = 1
    process(fleet, device.report())
    with fleet.store.read() as tx:
        record = reported.find(tx, "cam-1")
    assert record is not None
    assert record.reported.sequence == device._sequence, "what it says next counts"


def test_refusals_are_counted_by_reason_from_the_start(fleet: LocalFleet) -> None:
    def shown() -> str:
        return exposed(fleet.store, fleet=FLEET, hearing=Hearing(fleet.ingest.counters.snapshot))

    for reason in RefusedMessage:
        assert f'edgemm_fleet_refused_messages_total{{reason="{reason}"}} 0.0' in shown()
    process(fleet, forged(fleet, "cam-1", topic_of="cam-2"))
    assert 'edgemm_fleet_refused_messages_total{reason="untrusted"} 1.0' in shown()


def test_two_devices_with_one_identity_are_flagged(fleet: LocalFleet) -> None:
    device = fleet.devices["cam-1"]
    clone = SimulatedDevice(FLEET, "cam-1", device.signer, [])
    clone.boot = "f" * 16
    process(fleet, clone.connect()[0])
    with fleet.store.read() as tx:
        assert devices.get(tx, "cam-1").presence.duplicate_at == fleet.now
        assert devices.get(tx, "cam-2").presence.duplicate_at is None


def window_at_the_limit(sequence: int) -> bytes:
    """Return a window as large as the wire allows, without the fields that have a default."""
    models: list[dict[str, Any]] = [
        {"m": f"tiny-{n}", "d": bytes(32), "v": "v" * 75, "r": 1, "e": 0, "s": 1, "l": [1] * 20} for n in range(6)
    ]
    bare = {"v": 1, "b": bytes(8), "n": sequence, "f": 1, "t": 1, "u": 1, "q": {"w": 0, "x": 0}, "m": models}
    models[0]["v"] += "v" * (MAX_TELEMETRY_BYTES - len(msgspec.msgpack.encode(bare)))
    return msgspec.msgpack.encode(bare)


def test_a_window_at_the_limit_of_the_wire_is_stored_and_holds_nobody_else_up(fleet: LocalFleet) -> None:
    topic, window = topics.topic(FLEET, "cam-1", Channel.TELEMETRY), window_at_the_limit(1)
    assert len(window) == MAX_TELEMETRY_BYTES
    acks = process(fleet, Incoming(topic, window), fleet.devices["cam-2"].measure())
    assert (acked(acks, "cam-1"), acked(acks, "cam-2")) == ([1], [1])
    assert stored_windows(fleet, "cam-1") == [1]
