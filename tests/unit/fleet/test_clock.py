"""A server whose clock cannot be right signs nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.cli import run
from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.clock import check_clock
from edgemm_fleet.commands import serve
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server import process
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.store import Store
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
