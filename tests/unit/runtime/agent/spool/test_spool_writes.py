"""What the spool writes and when: windows wait in memory, what is acknowledged there is never written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemm.messages import Stream, StreamAck
from edgemm_runtime.agent.spool.budget import SpoolRules
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool
from edgemm_runtime.agent.spool.spool_database import SpoolDatabase, SpoolRow
from tests.unit.runtime.agent.spool.test_spool import _file_size_limit

BOOTS = ("a" * 16, "b" * 16)
E, T = Stream.EVENT, Stream.TELEMETRY
MIB = 1024 * 1024


class Device:
    """A spool with a clock that is set by hand; `power_cut` goes on with what is on the disk."""

    def __init__(self, path: Path, **changes: object) -> None:
        self.path, self.now_s, self.boot = path / "0", 1000.0, 0
        self.path.mkdir()
        self.given: dict[str, Any] = {
            "max_bytes": 16 * MIB, "day_bytes": 32 * MIB, "rules": SpoolRules(hold_s=600)
        } | changes  # fmt: skip
        self.spool = self._open()

    def _open(self) -> Spool:
        of_a_device = SpoolSettings(
            boot=BOOTS[self.boot], boot_count=self.boot + 1,
            monotonic=lambda: self.now_s, **self.given,
        )  # fmt: skip
        return Spool(self.path / "spool.sqlite", of_a_device)

    def power_cut(self, *, clock_s: float | None = None) -> None:
        left = self.path.with_name(str(int(self.path.name) + 1))
        shutil.copytree(self.path, left)
        self.spool.close()
        self.path, self.boot, self.now_s = left, 1, self.now_s if clock_s is None else clock_s
        self.spool = self._open()

    def add(self, stream: Stream, count: int = 1, *, size: int = 600, every_s: float = 0.0) -> None:
        for _ in range(count):
            self.now_s += every_s
            assert self.spool.add(stream, bytes(size), sequence=self.spool.next_sequence(stream))

    def acknowledge(self, stream: Stream, sequence: int, *, boot: int | None = None) -> int:
        name = BOOTS[self.boot if boot is None else boot]
        return self.spool.acknowledge([StreamAck(boot=name, stream=stream, sequence=sequence)])

    def a_day_passes(self) -> None:
        for _ in range(24 * 6):
            self.now_s += 600
            self.spool.write_due()

    @property
    def held(self) -> list[tuple[str, str, int, int]]:
        return [(m.boot[0], m.stream.value, m.sequence, m.floor) for m in self.spool.after(0, limit=100_000)]

    @property
    def written(self) -> int:
        return self.spool.gauges().written_bytes or 0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    device.spool.close()


def test_a_window_that_is_acknowledged_in_time_is_never_written(device: Device) -> None:
    for number in range(1, 101):
        device.add(T, every_s=60)
        assert device.held == [("a", "telemetry", number, number)]
        assert device.acknowledge(T, number) == 1
    device.spool.write_due()
    assert (device.written, device.held) == (0, [])


def test_windows_that_nobody_acknowledges_are_written_together_and_not_lost(device: Device) -> None:
    device.add(T, 10, every_s=60)
    assert device.written == 0
    device.add(T, every_s=60)
    once = device.written
    assert once > 0
    device.add(T, 5, every_s=60)
    assert device.written == once
    device.power_cut()
    assert device.held == [("a", "telemetry", number, 1) for number in range(1, 12)]
    device.add(T)
    assert device.held[-1] == ("b", "telemetry", 1, 1)


def test_what_was_lost_with_the_power_holds_nothing_up(device: Device) -> None:
    device.add(T, 12, every_s=60)
    device.power_cut()
    assert device.acknowledge(T, 12, boot=0) == 11
    assert device.held == []


def test_an_event_is_on_the_disk_at_once_and_takes_along_what_waits(device: Device) -> None:
    device.add(T, 3)
    device.add(E)
    device.add(T)
    device.power_cut()
    assert device.held == [*[("a", "telemetry", number, 1) for number in (1, 2, 3)], ("a", "event", 1, 1)]


def test_an_orderly_stop_writes_what_waits(device: Device) -> None:
    device.add(T, 3)
    device.spool.close()
    device.boot = 1
    device.spool = device._open()
    assert [number for _, _, number, _ in device.held] == [1, 2, 3]


def test_many_acknowledgements_are_one_commit(device: Device) -> None:
    device.add(E, 20)
    before = device.written
    for number in range(1, 21):
        assert device.acknowledge(E, number) == 1
    assert (device.written, device.held, device.spool.gauges().waiting) == (before, [], 0)
    device.now_s += 600
    device.spool.write_due()
    after = device.written
    assert after > before
    device.power_cut()
    assert device.held == []


def test_an_acknowledgement_that_was_not_written_yet_costs_a_second_sending_alone(device: Device) -> None:
    device.add(E, 3)
    device.acknowledge(E, 2)
    assert device.held == [("a", "event", 3, 3)]
    device.power_cut()
    assert device.held == [("a", "event", number, 1) for number in (1, 2, 3)]


def test_order_and_floor_hold_over_memory_and_disk(device: Device) -> None:
    device.add(T, 2)
    device.add(E)
    device.add(T, 2)
    device.add(E)
    device.add(T)
    assert [(s, n) for _, s, n, _ in device.held] == [
        ("telemetry", 1), ("telemetry", 2), ("event", 1), ("telemetry", 3), ("telemetry", 4), ("event", 2),
        ("telemetry", 5),
    ]  # fmt: skip
    device.acknowledge(T, 3)
    assert device.held == [
        ("a", "event", 1, 1),
        ("a", "telemetry", 4, 4),
        ("a", "event", 2, 1),
        ("a", "telemetry", 5, 4),
    ]
    position = [m.id for m in device.spool.after(0, limit=9)]
    assert [m.id for m in device.spool.after(position[1], limit=9)] == position[2:]


def test_the_cap_counts_what_is_in_memory_too(tmp_path: Path) -> None:
    device = Device(tmp_path, max_bytes=10 * (600 + 64))
    device.add(T, 6)
    device.add(E, 2, size=600)
    device.add(T, 6)
    assert [(s, n) for _, s, n, _ in device.held][:3] == [("telemetry", 5), ("telemetry", 6), ("event", 1)]
    assert (device.spool.gauges().waiting, device.spool.gauges().dropped) == (10, 4)
    device.spool.close()


def test_a_budget_that_is_used_up_holds_in_memory_then_drops_the_oldest_and_counts(tmp_path: Path) -> None:
    device = Device(tmp_path, day_bytes=2 * MIB, rules=SpoolRules(hold_s=0, memory_bytes=20 * 600))
    device.add(T, 300)
    told = device.spool.gauges()
    numbers = [number for _, _, number, _ in device.held]
    assert device.written <= 2 * MIB * 0.25
    assert numbers[-1] == 300
    assert told.dropped == told.unwritten == 300 - told.waiting > 0
    assert sorted(set(range(1, 301)) - set(numbers)) == list(range(numbers[-21] + 1, 281)), "the oldest in memory"
    # Events have what is left, and are written all the same.
    device.add(E)
    device.power_cut()
    assert device.held[-1][:3] == ("a", "event", 1)
    device.spool.close()


@pytest.mark.parametrize("clock_s", [pytest.param(None, id="agent"), pytest.param(5.0, id="machine")])
def test_a_start_neither_frees_the_budget_nor_locks_it(tmp_path: Path, clock_s: float | None) -> None:
    device = Device(tmp_path, day_bytes=2 * MIB, rules=SpoolRules(hold_s=0))
    device.add(T, 300)
    device.power_cut(clock_s=clock_s)
    device.add(T, 10)
    assert device.written == 0
    device.a_day_passes()
    assert device.written > 0
    device.power_cut()
    assert ("b", "telemetry", 10, 1) in device.held
    device.spool.close()


def test_an_event_over_the_budget_is_sent_and_stays_with_its_record(tmp_path: Path) -> None:
    device = Device(tmp_path, day_bytes=2 * MIB, rules=SpoolRules(hold_s=0))
    device.add(E, 100)
    serial: dict[str, Any] = {"source": "models/tiny", "serial": 7}
    assert not device.spool.add_once(E, b"x", sequence=101, **serial)
    assert device.spool.last_serial("models/tiny") == 7
    assert device.held[-1][:3] == ("a", "event", 101)
    assert not device.spool.add_once(E, b"x", sequence=102, **serial)
    assert device.spool.next_sequence(E) == 102, "it is told once"
    device.a_day_passes()
    assert device.spool.add_once(E, b"x", sequence=102, **serial)
    device.power_cut()
    assert device.held[-1][:3] == ("a", "event", 101)
    device.spool.close()


def test_a_full_disk_leaves_windows_in_memory_until_there_is_room(device: Device) -> None:
    device.add(E)
    with _file_size_limit(1024):
        device.add(T, 12, size=900, every_s=60)
        assert not device.spool.add(E, bytes(10_000), sequence=2)
    assert (device.spool.gauges().waiting, device.spool.gauges().dropped) == (13, 1)
    device.spool.write_due()
    device.power_cut()
    assert len(device.held) == 13


sizes = st.lists(st.integers(0, 6000), max_size=12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(sizes, st.integers(0, 30)), min_size=1, max_size=12))
def test_a_commit_never_costs_more_than_its_price(commits: list[tuple[list[int], int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        database = SpoolDatabase(Path(folder) / "spool.sqlite")
        budget = database.budget(32 * MIB, now_s=0)
        price, number, gone = database.price, 0, 0
        for bodies, removals in commits:
            rows = []
            for size in bodies:
                number += 1
                source = (f"models/{'m' * 60}{number % 5}", number) if number % 2 else None
                rows.append(SpoolRow(number, BOOTS[0], 1, E, number, bytes(size), source))
            first = gone
            gone = min(gone + removals, number - len(rows))
            most = price.commit + sum(price.of(size) for size in bodies) + (gone - first) * price.removal
            assert database.commit(rows, gone={(BOOTS[0], E): gone}, budget=budget, most=most) <= most
        database.close()
