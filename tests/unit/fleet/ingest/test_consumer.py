from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm.messages import Ack, decode_control
from edgemm_fleet.ingest.batch import Ingest
from edgemm_fleet.ingest.consumer import Consumer
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.store import streams
from simulators.broker import FLEET, LocalFleet
from simulators.waiting import eventually


class FullDisk(Ingest):
    """Cannot store at first, as when the disk is full."""

    failures = 1

    def process(self, batch: Sequence[Incoming], *, now: float) -> Mapping[str, tuple[Ack, ...]]:
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
        publish=lambda _topic, payload: acks.append((stored(), payload)),
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
