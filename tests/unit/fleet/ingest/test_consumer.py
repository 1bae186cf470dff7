from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgemm import topics
from edgemm.errors import EnvironmentFailure
from edgemm.messages import MAX_CONTROL_BYTES, Ack, decode_control
from edgemm_fleet.filters import known_facts
from edgemm_fleet.ingest.batch import Ingest
from edgemm_fleet.ingest.consumer import Consumer, fitting
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import streams
from simulators.broker import FLEET, LocalFleet
from simulators.waiting import eventually


class FullDisk(Ingest):
    """Cannot store at first, as when the disk is full."""

    failures = 1

    def process(self, batch: Sequence[Incoming], *, now: float) -> dict[str, tuple[Ack, ...]]:
        if self.failures:
            self.failures -= 1
            raise EnvironmentFailure("fleet database: database or disk is full")
        return super().process(batch, now=now)


def test_what_cannot_be_stored_is_not_acknowledged_and_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    ingest = FullDisk(fleet.store, fleet=FLEET, director=fleet.director, runner=fleet.runner)
    acks: list[tuple[bool, bytes]] = []

    def stored() -> bool:
        with fleet.store.read() as tx:
            return bool(streams.page_telemetry(tx, "cam-1").items)

    consumer = Consumer(
        ingest,
        fleet=FLEET,
        clock=lambda: fleet.now,
        publish=lambda sent: acks.extend((stored(), payload) for _, payload in sent),
        committed=lambda: None,
    )
    window = fleet.devices["cam-1"].measure()
    consumer.start()
    consumer.receive(window.topic, window.payload)
    eventually(lambda: acks, "the window is acknowledged")
    consumer.stop()
    ((was_stored, payload),) = acks
    assert was_stored, "the ack follows the commit"
    assert decode_control(payload, Ack).acks[0].sequence == 1
    assert ingest.failures == 0
    assert ingest.counters.snapshot()["store_failures"] == 1
    assert "database or disk is full" in caplog.text
    fleet.store.close()


def test_what_comes_while_the_clock_cannot_be_right_waits_until_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", "cam-2", "cam-3")
    groups = (Group(count=2, success_threshold=0.5, soak_s=3600), Group(percent=100))
    rollout = fleet.start(fleet.plan("1.0.0", *groups))
    said = fleet.send()
    late = next(iter(fleet.states(rollout)))
    fleet.deliver([message for message in said if f"/{late}/" not in message.topic])
    right, now = fleet.now, [2_222_222_222.0]
    consumer = Consumer(
        fleet.ingest, fleet=FLEET, clock=lambda: now[0], publish=lambda *_: None, committed=lambda: None
    )
    consumer.start()
    for message in said:
        consumer.receive(message.topic, message.payload)
    eventually(lambda: "the clock of this machine shows 2040-06-02" in caplog.text, "the consumer says so")
    assert sorted(fleet.states(rollout).values()) == ["committed", "pending"]
    now[0] = right + 1
    eventually(
        lambda: list(fleet.states(rollout).values()) == ["committed"] * 2, "it is stored once the clock is right"
    )
    consumer.stop()
    assert fleet.rollout(rollout).groups[1].started_at is None, "the soak was not over at once"
    fleet.store.close()


class Poisoned(Ingest):
    """Has a bug that one message brings to light."""

    def process(self, batch: Sequence[Incoming], *, now: float) -> dict[str, tuple[Ack, ...]]:
        if any(incoming.payload == b"poison" for incoming in batch):
            raise KeyError("unforeseen")
        return super().process(batch, now=now)


def test_a_message_that_cannot_be_handled_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", "cam-2", "cam-3")
    ingest = Poisoned(fleet.store, fleet=FLEET, director=fleet.director, runner=fleet.runner)
    acked: list[str] = []
    consumer = Consumer(
        ingest,
        fleet=FLEET,
        clock=lambda: fleet.now,
        publish=lambda sent: acked.extend(topics.parse(topic).device for topic, _ in sent),
        committed=lambda: None,
    )
    windows = [device.measure() for device in fleet.devices.values()]
    consumer.receive(windows[0].topic, windows[0].payload)
    consumer.receive(windows[0].topic, b"poison")
    consumer.receive(windows[0].topic, bytes(MAX_CONTROL_BYTES + 1))
    for window in windows[1:]:
        consumer.receive(window.topic, window.payload)
    consumer.start()
    eventually(lambda: len(acked) == 3, "all windows are acknowledged")
    consumer.stop()
    assert sorted(acked) == ["cam-1", "cam-2", "cam-3"]
    counts = ingest.counters.snapshot()
    assert (counts["refused_unforeseen"], counts["refused_too_large"]) == (1, 1)
    assert "why=unforeseen" in caplog.text
    fleet.store.close()


def test_a_fact_that_no_index_takes_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses it for good; SQLite takes it."""
    monkeypatch.setattr(known_facts, "_LONGEST_ENGINE", 10_000)
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", "cam-2")
    acked: list[str] = []
    consumer = Consumer(
        fleet.ingest,
        fleet=FLEET,
        clock=lambda: fleet.now,
        publish=lambda sent: acked.extend(topics.parse(topic).device for topic, _ in sent),
        committed=lambda: None,
    )
    report = fleet.devices["cam-1"].report(engines={secrets.token_hex(4000): "1"})
    consumer.receive(report.topic, report.payload)
    window = fleet.devices["cam-2"].measure()
    consumer.receive(window.topic, window.payload)
    consumer.start()
    eventually(lambda: acked == ["cam-2"], "the other's window is acknowledged")
    window = fleet.devices["cam-2"].measure()
    consumer.receive(window.topic, window.payload)
    eventually(lambda: acked == ["cam-2"] * 2, "the next batch is stored")
    consumer.stop()
    fleet.store.close()


class Allergic(Ingest):
    """Cannot handle anything of one device."""

    tried = 0

    def process(self, batch: Sequence[Incoming], *, now: float) -> dict[str, tuple[Ack, ...]]:
        self.tried += 1
        if any("/cam-1/" in incoming.topic for incoming in batch):
            raise KeyError("unforeseen")
        return super().process(batch, now=now)


def test_a_device_whose_messages_cannot_be_handled_costs_the_others_a_few_tries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add(*(f"cam-{number}" for number in range(20)))
    ingest = Allergic(fleet.store, fleet=FLEET, director=fleet.director, runner=fleet.runner)
    acked: list[str] = []
    consumer = Consumer(
        ingest,
        fleet=FLEET,
        clock=lambda: fleet.now,
        publish=lambda sent: acked.extend(topics.parse(topic).device for topic, _ in sent),
        committed=lambda: None,
    )
    bad = fleet.devices.pop("cam-1").measure()
    for number in range(400):
        consumer.receive(bad.topic, bad.payload)
        if number % 20 == 0:
            for device in fleet.devices.values():
                window = device.measure()
                consumer.receive(window.topic, window.payload)
    consumer.start()
    eventually(lambda: set(acked) == set(fleet.devices), "all others are acknowledged")
    consumer.stop()
    assert ingest.counters.snapshot()["refused_unforeseen"] == 400
    assert ingest.tried < 60, "each is a transaction"
    assert caplog.text.count("why=unforeseen") <= 5
    with fleet.store.read() as tx:
        assert all(streams.page_telemetry(tx, name).items[0].telemetry.sequence == 20 for name in fleet.devices)
    fleet.store.close()


def test_windows_wake_nobody_who_would_find_nothing_to_do(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    device, woken = fleet.devices["cam-1"], list[int]()
    acked: list[str] = []
    consumer = Consumer(
        fleet.ingest,
        fleet=FLEET,
        clock=lambda: fleet.now,
        publish=lambda sent: acked.extend(topic for topic, _ in sent),
        committed=lambda: woken.append(len(acked)),
    )
    consumer.start()
    window = device.measure()
    consumer.receive(window.topic, window.payload)
    eventually(lambda: acked, "the window is acknowledged")
    assert not woken
    consumer.receive_all([(said.topic, said.payload, False) for said in device.connect()])
    eventually(lambda: woken, "what it says of itself wakes the outbox")
    consumer.stop()
    fleet.store.close()


def test_a_batch_is_as_large_as_fits_into_its_time() -> None:
    assert fitting(1000, 1000, 0.025) == 2000
    assert fitting(1000, 1000, 0.001) == 2000, "it doubles at most"
    assert fitting(4000, 4000, 0.001) == 4000
    assert fitting(2000, 2000, 0.1) == 1000
    assert fitting(4000, 4000, 30.0) == 2000, "it is halved at most"
    assert fitting(500, 500, 30.0) == 500
    assert fitting(2000, 3, 30.0) == 2000, "a small one says nothing"
