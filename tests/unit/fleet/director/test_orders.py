"""Actions that travel in a message of their own, over a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.messages import Action
from edgemm_fleet.store import actions, desired
from simulators.managed import ManagedFleet

SYNC = Action(id="s-1", kind="sync-time")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ManagedFleet]:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("cam-1")
        yield fleet


def _ask(fleet: ManagedFleet, action: Action = SYNC) -> None:
    fleet.manager.actions.add("cam-1", action, actor="person:ann", now=time.time())


def _done(fleet: ManagedFleet, action: str = "s-1") -> bool:
    with fleet.store.read() as tx:
        found = actions.find(tx, action)
    return found is not None and found.done_at is not None


def test_it_is_done_without_a_desired(fleet: ManagedFleet) -> None:
    _ask(fleet)
    fleet.wait(lambda: _done(fleet), "the device did it")
    with fleet.store.read() as tx:
        assert desired.find(tx, "cam-1") is None


def test_other_kinds_travel_in_desired_beside_it(fleet: ManagedFleet) -> None:
    _ask(fleet, Action(id="d-1", kind="diagnose"))
    fleet.wait(lambda: _done(fleet, "d-1"), "the device did it")
    with fleet.store.read() as tx:
        assert desired.find(tx, "cam-1") is not None


def test_an_order_is_for_the_start_that_reported_and_sent_again_to_the_next(fleet: ManagedFleet) -> None:
    carried = fleet.devices["cam-1"]
    with carried._lock:
        carried.device.restart()
    _ask(fleet)
    assert not _done(fleet)
    with carried._lock:
        carried.publish(carried.device.connect())
    fleet.wait(lambda: _done(fleet), "the device did it, in its new start")
    assert [result.id for result in carried.device._results] == ["s-1"]
