"""What is kept of events and telemetry, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgemm.messages import Stream
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server.retention import Pruner, Retention
from edgemm_fleet.server.services import ManagerSettings
from edgemm_fleet.store import Transaction, devices, schema, streams
from edgemm_fleet.store.database import count
from edgemm_fleet.store.history import parts
from edgemm_fleet.store.history.history_tables import HistoryKind, part_table
from simulators.broker import FLEET, LocalFleet
from simulators.managed import ManagedFleet

DAY_S = 86400.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    yield fleet
    fleet.store.close()


def pruner(fleet: LocalFleet) -> Pruner:
    return Pruner(fleet.store, Retention(telemetry_s=30 * DAY_S, events_s=365 * DAY_S), clock=lambda: fleet.now)


def totals(fleet: LocalFleet) -> dict[Stream, int]:
    with fleet.store.read() as tx:
        tables = [part_table(HistoryKind.WINDOWS, part.number) for part in parts.parts_of(tx, HistoryKind.WINDOWS)]
        return {Stream.EVENT: count(tx, schema.events), Stream.TELEMETRY: sum(count(tx, table) for table in tables)}


def test_each_is_kept_for_its_days_and_deleted_after_them(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    fleet.run("1.0.0", Group(count=1))
    device = fleet.devices["cam-0"]
    fleet.deliver([device.measure()])
    for _ in range(10):
        fleet.now += 6 * DAY_S
        fleet.deliver([device.measure()])
    assert pruner(fleet).prune() == {Stream.EVENT: 0, Stream.TELEMETRY: 0}
    assert totals(fleet) == {Stream.EVENT: 7, Stream.TELEMETRY: 1}
    fleet.now += 306 * DAY_S
    assert pruner(fleet).prune() == {Stream.EVENT: 7, Stream.TELEMETRY: 0}
    assert totals(fleet) == {Stream.EVENT: 0, Stream.TELEMETRY: 0}
    fleet.deliver([device.measure()])
    assert device.unacknowledged() == [], "a device goes on being acknowledged from where it was"
    with fleet.store.read() as tx:
        assert devices.get(tx, "cam-0").id == "cam-0"


def test_a_clock_that_cannot_be_right_deletes_nothing(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    fleet.deliver([fleet.devices["cam-0"].measure()])
    fleet.now += 20 * 366 * DAY_S
    assert pruner(fleet).prune() == {Stream.EVENT: 0, Stream.TELEMETRY: 0}


def test_a_manager_prunes_when_it_starts(tmp_path: Path) -> None:
    settings = ManagerSettings(FLEET, BrokerSettings(port=0), retention=Retention(telemetry_s=DAY_S, events_s=-1.0))
    with ManagedFleet(tmp_path, settings) as fleet:
        fleet.add("cam-0")
        device = fleet.devices["cam-0"]
        device.publish([device.device._event("update")])
        fleet.wait(lambda: not device.device.unacknowledged(), "it is stored")
        fleet.manager.stop()
        device.stop()
        fleet.start_again()
        fleet.wait(lambda: _events(fleet) == 0, "what is too old is gone")


def _events(fleet: ManagedFleet) -> int:
    with fleet.store.read() as tx:
        return count(tx, schema.events)


def test_a_great_number_goes_in_small_transactions(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    for _ in range(5):
        fleet.deliver([fleet.devices["cam-0"]._event("update") for _ in range(500)])
    fleet.now += 366 * DAY_S
    writes, write = [], fleet.store.write

    @contextmanager
    def counted() -> Iterator[Transaction]:
        writes.append(1)
        with write() as tx:
            yield tx

    fleet.store.write = counted  # type: ignore[method-assign]  # it counts, and is otherwise the same
    assert pruner(fleet).prune()[Stream.EVENT] == 2500
    assert len(writes) == 6, "three for events, and one for each of the others"
    assert totals(fleet)[Stream.EVENT] == 0


def test_the_counter_of_what_came_in_never_falls(fleet: LocalFleet) -> None:
    """Prometheus takes a fall for a restart, and all that is left for new."""
    fleet.add("cam-0")
    fleet.deliver([fleet.devices["cam-0"].measure() for _ in range(3)])
    fleet.now += 31 * DAY_S
    fleet.deliver([fleet.devices["cam-0"].measure() for _ in range(2)])
    pruner(fleet).prune()
    assert totals(fleet)[Stream.TELEMETRY] == 0
    with fleet.store.read() as tx:
        assert streams.received(tx)[Stream.TELEMETRY] == 5


class _Clocks:
    """The wall clock and the steady one of a manager."""

    def __init__(self, now: float) -> None:
        self.now, self.steady_s = now, 0.0

    def pass_s(self, seconds: float, *, leap_s: float = 0.0) -> None:
        self.now, self.steady_s = self.now + seconds + leap_s, self.steady_s + seconds


def _watchful(fleet: LocalFleet, clocks: _Clocks) -> Pruner:
    return Pruner(fleet.store, Retention(), clock=lambda: clocks.now, monotonic=lambda: clocks.steady_s)


def test_a_clock_that_went_ahead_by_more_than_a_day_deletes_nothing_for_a_day(fleet: LocalFleet) -> None:
    clocks = _Clocks(fleet.now)
    watchful = _watchful(fleet, clocks)
    assert watchful.may_prune()
    clocks.pass_s(3600)
    assert watchful.may_prune()
    clocks.pass_s(3600, leap_s=5 * 366 * DAY_S)
    assert not watchful.may_prune()
    clocks.pass_s(3600, leap_s=-5 * 366 * DAY_S)
    assert not watchful.may_prune()
    clocks.pass_s(DAY_S)
    assert watchful.may_prune()


def test_what_came_while_the_clock_was_ahead_hides_no_leap(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    right = fleet.now
    for leap_s in (365 * DAY_S, 0.0):
        fleet.now = right + leap_s
        fleet.deliver([fleet.devices["cam-0"].measure()])
    assert not _watchful(fleet, _Clocks(fleet.now + 40 * DAY_S)).may_prune()


def test_a_start_long_after_the_last_item_came_deletes_nothing_for_a_day(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    fleet.deliver([fleet.devices["cam-0"].measure()])
    clocks = _Clocks(fleet.now + 40 * DAY_S)
    watchful = _watchful(fleet, clocks)
    assert not watchful.may_prune()
    clocks.pass_s(DAY_S)
    assert watchful.may_prune()
