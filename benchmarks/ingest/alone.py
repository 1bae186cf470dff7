"""`Ingest.process` without a broker: what a window costs it, by the size of a batch."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from benchmarks.ingest.fleet_of_senders import Windows, enrol_all, ingest_of
from edgemm.messages import Stream
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.store import Store, streams
from simulators.broker import START


class Alone(Struct, frozen=True):
    """Medians over the batches; microseconds a window."""

    batch: int
    cpu_us: float
    wall_us: float
    acks: float
    """Acknowledgements a window."""


def measure(size: int, *, devices: int, batches: int) -> Alone:
    """Store batches of `size` windows; the devices take turns, so that a batch has a window of each, or more."""
    with tempfile.TemporaryDirectory(prefix="ingest-") as place:
        folder = Path(place)
        enrol_all(folder, devices)
        store = Store.open(folder / "fleet.db")
        ingest, windows = ingest_of(store, folder), [Windows(number) for number in range(devices)]
        cpu, wall, acks, given = list[float](), list[float](), 0, 0
        for _ in range(batches + 1):
            batch = []
            for turn in range(given, given + size):
                window = windows[turn % devices]
                batch.append(Incoming(window.topic, window.payload(turn // devices + 1)))
            given += size
            before_s, before_cpu_s = time.perf_counter(), time.process_time()
            said = ingest.process(batch, now=START)
            cpu.append(time.process_time() - before_cpu_s)
            wall.append(time.perf_counter() - before_s)
            acks += sum(map(len, said.values()))
        with store.read() as tx:
            assert streams.received(tx)[Stream.TELEMETRY] == given, "each window counts once"
        store.close()
    cpu_us, wall_us = (1e6 / size * statistics.median(times[1:]) for times in (cpu, wall))
    return Alone(size, cpu_us, wall_us, acks / given)
