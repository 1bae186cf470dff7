"""A server whose clock cannot be right signs nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.cli import run
from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.clock import ManagerClock, check_clock
from edgemm_fleet.commands import serve
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server import process
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.store import Store, rollouts
from simulators.broker import FLEET
from simulators.managed import ManagedFleet

SAID = "the clock of this machine shows {}: expected 2026-11-01 to 2036-11-"
WRONG = [datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC), datetime(2040, 6, 1, tzinfo=UTC)]


@pytest.fixture(params=WRONG, ids=["1970", "2040"])
def wrong(request: pytest.FixtureRequest) -> datetime:
    moment: datetime = request.param
    return moment


def test_a_clock_that_may_be_right_is_believed() -> None:
    check_clock(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
    check_clock(datetime(2036, 1, 1, tzinfo=UTC).timestamp())


def test_a_manager_does_not_start(tmp_path: Path, wrong: datetime) -> None:
    store = Store.open(tmp_path / "fleet.db")
    manager = FleetServices(
        ManagerSettings(FLEET, BrokerSettings(port=0)),
        store=store,
        director_key=CryptoSigner.generate_ed25519(),
        clock=wrong.timestamp,
    )
    with pytest.raises(EnvironmentFailure, match=SAID.format(wrong.date())):
        manager.start()
    store.close()


def test_init_and_serve_say_so_in_one_line_and_leave_everything_as_it_was(
    tmp_path: Path, wrong: datetime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("--public-url", "http://127.0.0.1:8080")
    assert run(["fleet", "init", str(tmp_path / "f"), *url]) == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "f").rglob("*"))
    capsys.readouterr()
    for module in (process, serve):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=wrong.timestamp))
    for arguments in (["init", str(tmp_path / "g"), *url], ["serve", str(tmp_path / "f")]):
        assert run(["fleet", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: " + SAID.format(wrong.date()))
    assert not (tmp_path / "g").exists()
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "f").rglob("*")) == before


def test_a_clock_that_leaps_ends_no_deadline(tmp_path: Path, wrong: datetime, caplog: pytest.LogCaptureFixture) -> None:
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0), tick_s=0.01)) as fleet:
        fleet.add("cam-1")
        fleet.devices["cam-1"].device.silent = True
        rollout = fleet.start("1.0.0", Group(percent=100))
        right, fleet.manager._clock = fleet.manager._clock, wrong.timestamp
        fleet.wait(lambda: f"clock={wrong:%Y-%m-%d}" in caplog.text, "the manager noticed")
        assert fleet.rollout(rollout).state == "running"
        fleet.manager._clock = right
    assert caplog.text.count("plausible=False") == 1


class _Machine:
    """A machine's clocks."""

    def __init__(self) -> None:
        self.wall_s, self.steady_s = datetime(2027, 1, 1, tzinfo=UTC).timestamp(), 0.0
        self.clock = ManagerClock(lambda: self.wall_s, lambda: self.steady_s)

    def pass_s(self, seconds: float, *, leap_s: float = 0.0) -> float:
        """Let time pass, and the wall clock leap; return by how much what the manager goes by has changed."""
        before = self.clock()
        self.wall_s += seconds + leap_s
        self.steady_s += seconds
        return self.clock() - before


@pytest.mark.parametrize("leap_s", [3600.0, 86400.0, 5 * 366 * 86400.0, -3600.0, -40 * 86400.0])
def test_a_leap_that_is_over_within_a_minute_does_nothing(leap_s: float) -> None:
    machine = _Machine()
    assert machine.pass_s(10, leap_s=leap_s) == 10
    assert machine.clock.lasted_s() == 0
    assert machine.pass_s(40) == 40
    assert machine.clock.confirmed() == 0
    assert machine.pass_s(5, leap_s=-leap_s) == 5
    assert bool(machine.clock.settled) is True
    assert machine.pass_s(100) == 100
    assert machine.clock.confirmed() == 0


def test_a_leap_that_lasts_is_believed_and_told_by_how_much() -> None:
    machine = _Machine()
    machine.pass_s(3600)
    assert machine.clock.lasted_s() == 3600
    machine.pass_s(1, leap_s=7200)
    assert machine.clock.lasted_s() == 0
    assert machine.pass_s(60) == 60
    assert machine.clock.confirmed() == 7200
    assert machine.clock() == machine.wall_s - 7200, "until what runs by a deadline is moved"
    machine.clock.adopt()
    assert (machine.clock(), machine.clock.confirmed(), machine.clock.lasted_s()) == (machine.wall_s, 0, 0)


def test_small_steps_are_followed() -> None:
    machine = _Machine()
    for _ in range(10):
        assert machine.pass_s(600, leap_s=30) == 630
    assert machine.clock.settled


def test_a_leap_that_lasts_moves_deadlines_along(tmp_path: Path) -> None:
    """Forth, and back: what began before and what began meanwhile end when they would have."""
    off = {"ahead": 0.0, "later": 0.0}
    clock = ManagerClock(lambda: time.time() + off["ahead"] + off["later"], lambda: time.monotonic() + off["later"])
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0), tick_s=0.01), clock=clock) as fleet:
        fleet.add("cam-1", "cam-2")
        for device in fleet.devices.values():
            device.device.silent = True
        rollout = fleet.start("1.0.0", Group(percent=100))
        before = _deadlines(fleet, rollout)
        for ahead_s in (366 * 86400.0, 0.0):
            off["ahead"] = ahead_s
            fleet.wait(lambda: not clock.settled, "the leap is noticed")
            off["later"] += 61
            fleet.wait(lambda: clock.settled, "the leap is believed")
            assert fleet.rollout(rollout).state == "running"
            assert [at - ahead_s for at in _deadlines(fleet, rollout)] == pytest.approx(before, abs=300)


def _deadlines(fleet: ManagedFleet, rollout: str) -> list[float]:
    with fleet.store.read() as tx:
        members = rollouts.members_of(tx, rollout)
    found = [*(member.deadline_at for member in members), *(one.deadline_at for one in fleet.rollout(rollout).groups)]
    return [at for at in found if at is not None]
