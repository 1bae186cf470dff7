"""What is kept of windows, for how long, in how many bytes; and that it goes by dropping tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import inspect, select

from benchmarks.ingest.fleet_of_senders import Windows
from edgemm.messages import decode_telemetry
from edgemm_fleet.server.retention import Pruner, Retention
from edgemm_fleet.store import Store, streams
from edgemm_fleet.store.history import parts, windows
from edgemm_fleet.store.history.history_tables import HistoryKind, latest, part_table
from edgemm_fleet.store.transfer import move_fleet
from simulators.broker import LocalFleet

DAY_S = 86400.0
BYTES_A_DEVICE_DAY = 85_000
"""As docs/operating.md says, of a device that measures once a minute."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.now += DAY_S - fleet.now % DAY_S
    fleet.add("cam-1")
    yield fleet
    fleet.store.close()


def measure(fleet: LocalFleet, *, hours: int, every_s: float = 60.0) -> None:
    for _ in range(int(hours * 3600 / every_s)):
        fleet.now += every_s
        fleet.deliver([device.measure() for device in fleet.devices.values()])


def kept(fleet: LocalFleet) -> list[int]:
    with fleet.store.read() as tx:
        return [one.telemetry.sequence for one in streams.page_telemetry(tx, "cam-1", limit=1000).items]


def tables(fleet: LocalFleet) -> list[str]:
    with fleet.store.read() as tx:
        return [name for name in inspect(tx).get_table_names() if name[-1].isdigit()]


def pruned(fleet: LocalFleet) -> None:
    Pruner(fleet.store, Retention(), clock=lambda: fleet.now).prune()


def test_the_newest_of_each_boot_one_in_ten_and_a_row_an_hour(fleet: LocalFleet) -> None:
    measure(fleet, hours=2)
    fleet.devices["cam-1"].restart()
    fleet.now += 60
    fleet.deliver([fleet.devices["cam-1"].measure() for _ in range(5)])
    assert kept(fleet) == [5, 1, 120, *range(111, 0, -10)]
    with fleet.store.read() as tx:
        (part,) = parts.parts_of(tx, HistoryKind.HEALTH)
        health = part_table(HistoryKind.HEALTH, part.number)
        rows = tx.execute(select(health).order_by(health.c.hour)).all()
    assert [(row.sequence, row.hour - rows[0].hour) for row in rows] == [(1, 0), (61, 1), (1, 2)]


def test_pages_go_on_where_the_one_before_ended(fleet: LocalFleet) -> None:
    measure(fleet, hours=30)
    after, found = None, []
    while True:
        with fleet.store.read() as tx:
            page = streams.page_telemetry(tx, "cam-1", after=after, limit=7)
        assert len(page.items) == 7 or page.next is None
        found += [one.telemetry.sequence for one in page.items]
        if (after := page.next) is None:
            break
    assert found == kept(fleet) == [1800, *range(1791, 0, -10)]


def test_windows_go_after_seven_days_and_the_rows_of_an_hour_after_thirty(fleet: LocalFleet) -> None:
    for _ in range(45):
        measure(fleet, hours=24, every_s=7200.0)
        pruned(fleet)
    names = tables(fleet)
    assert 7 <= sum(name.startswith("windows") for name in names) <= 9
    assert 30 <= sum(name.startswith("health") for name in names) <= 32
    assert min(kept(fleet)) > 12 * 36


def test_a_part_of_a_clock_that_was_ahead_holds_up_nothing(fleet: LocalFleet) -> None:
    right = fleet.now
    fleet.now += 300 * DAY_S
    fleet.deliver([fleet.devices["cam-1"].measure()])
    fleet.now = right
    measure(fleet, hours=1)
    fleet.now += 10 * DAY_S
    pruned(fleet)
    assert kept(fleet) == [61]


def test_parts_of_days_of_a_clock_that_was_ahead_hold_up_nothing(fleet: LocalFleet) -> None:
    right = fleet.now
    fleet.now += 365 * DAY_S
    measure(fleet, hours=48, every_s=7200.0)
    fleet.now = right + 2 * DAY_S
    for day in range(20):
        measure(fleet, hours=24, every_s=7200.0)
        pruned(fleet)
        assert (1 in kept(fleet)) is (day < 7)
    assert sum(name.startswith("windows") for name in tables(fleet)) <= 9


def test_a_clock_that_was_back_for_an_hour_drops_nothing_younger(fleet: LocalFleet) -> None:
    measure(fleet, hours=3)
    right = fleet.now
    fleet.now -= 365 * DAY_S
    measure(fleet, hours=1)
    fleet.now = right
    for _ in range(2):
        measure(fleet, hours=1)
        pruned(fleet)
    assert kept(fleet) == [360, *range(351, 0, -10)]


def test_a_part_that_others_read_goes_once_they_have_ended(fleet: LocalFleet) -> None:
    measure(fleet, hours=24, every_s=7200.0)
    fleet.now += 10 * DAY_S
    with fleet.store.read() as tx:
        assert list(tx.execute(select(part_table(HistoryKind.WINDOWS, 1))))
        pruned(fleet)
    pruned(fleet)
    assert "windows_1" not in tables(fleet)
    assert kept(fleet) == [12]


def test_a_part_that_is_dropped_while_others_read_is_as_one_that_is_empty(fleet: LocalFleet) -> None:
    measure(fleet, hours=24, every_s=7200.0)
    fleet.now += 10 * DAY_S
    with fleet.store.read() as tx:
        assert parts.parts_of(tx, HistoryKind.WINDOWS)
        pruned(fleet)
        assert streams.page_telemetry(tx, "cam-1").items[0].telemetry.sequence == 12
        assert parts.parts_of(tx, HistoryKind.WINDOWS), "the transaction goes on"


@pytest.mark.sqlite
def test_an_hour_has_one_row_of_a_device_also_where_a_part_ends_in_it(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_MOST_ROWS", {HistoryKind.WINDOWS: 1000, HistoryKind.HEALTH: 1})
    measure(fleet, hours=2)
    with fleet.store.read() as tx:
        tables = [part_table(HistoryKind.HEALTH, part.number) for part in parts.parts_of(tx, HistoryKind.HEALTH)]
        hours = [hour for table in tables for hour in tx.execute(select(table.c.hour)).scalars()]
    assert len(hours) == len(set(hours)) == 2


def test_a_temperature_that_is_no_number_is_none(fleet: LocalFleet) -> None:
    """SQLite keeps none for it, so that a fleet could not move there."""
    sent = fleet.devices["cam-1"].measure().payload
    window = decode_telemetry(sent)
    nowhere = replace(window, system=replace(window.system, temperature_c=float("nan")))
    with fleet.store.write() as tx:
        windows.add(tx, [windows.Came("cam-1", nowhere, sent)], now=fleet.now)
        (part,) = parts.parts_of(tx, HistoryKind.HEALTH)
        health = part_table(HistoryKind.HEALTH, part.number)
        assert tx.execute(select(health.c.temperature_c)).scalar_one() is None


@pytest.mark.sqlite
def test_a_part_of_sqlite_is_no_larger_than_can_be_dropped_at_once(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_MOST_ROWS", {HistoryKind.WINDOWS: 5, HistoryKind.HEALTH: 1000})
    measure(fleet, hours=5)
    with fleet.store.read() as tx:
        assert [part.rows for part in parts.parts_of(tx, HistoryKind.WINDOWS)] == [0, *[5] * 6]
    assert kept(fleet) == [300, *range(291, 0, -10)]


@pytest.mark.sqlite
def test_a_fleet_moves_with_its_history(fleet: LocalFleet, tmp_path: Path) -> None:
    measure(fleet, hours=30)
    before = kept(fleet)
    fleet.store.close()
    moved = move_fleet(fleet.path, tmp_path / "other.db", told=lambda *_: None)
    assert [moved.rows[name] for name in ("windows_1", "windows_2", "health_1", "health_2")] == [144, 36, 24, 6]
    with closing(Store.open(tmp_path / "other.db")) as store, store.read() as tx:
        found = [one.telemetry.sequence for one in streams.page_telemetry(tx, "cam-1", limit=1000).items]
    assert found == before


def test_of_so_many_boots_of_a_device_the_newest_window_is_kept(fleet: LocalFleet) -> None:
    for _ in range(windows.MOST_BOOTS + 5):
        fleet.devices["cam-1"].restart()
        fleet.deliver([fleet.devices["cam-1"].measure()])
    with fleet.store.read() as tx:
        boots = tx.execute(select(latest.c.boot).order_by(latest.c.id)).scalars().all()
    assert len(boots) == windows.MOST_BOOTS
    assert boots[-1] == fleet.devices["cam-1"].boot


@pytest.mark.sqlite
def test_a_day_of_a_device_takes_the_bytes_that_the_page_says(tmp_path: Path) -> None:
    """A window is as large as one of a device with two models and a camera's gauges, 438 bytes."""
    path, now = tmp_path / "fleet.db", 1_800_057_600.0
    Store.open(path).close()
    empty, store = path.stat().st_size, Store.open(path)
    sent = Windows(0).payload(1)
    devices = [f"cam-{number}" for number in range(20)]
    for minute in range(0, 1440, 10):
        now += 600.0
        came = [
            windows.Came(device, replace(decode_telemetry(sent), sequence=minute + n + 1), sent.ljust(438, b"\0"))
            for device in devices
            for n in range(10)
        ]
        with store.write() as tx:
            windows.add(tx, came, now=now)
    store.close()
    size = path.stat().st_size - empty
    assert size / len(devices) <= BYTES_A_DEVICE_DAY
