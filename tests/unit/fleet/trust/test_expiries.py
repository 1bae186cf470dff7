"""What ends is warned of 30 days before, by the status, the metrics and the log."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import pytest

from edgemm_fleet.api.messages import FleetStatus
from edgemm_fleet.client.fleet import FleetClient
from edgemm_fleet.clock import ManagerClock
from edgemm_fleet.records import expiries
from edgemm_fleet.records.expiries import WARNED_S, Expiry
from edgemm_fleet.records.records import Role
from edgemm_fleet.server.upkeep import Upkeep, Watched
from edgemm_fleet.trust.ceremony import Replacement, propose, sign_here
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.api.servers import RunningFleet

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


def _ending(at: float) -> Expiry:
    return Expiry(kind="certificate", name="server", ends_at=at, advice="renew it")


def test_what_is_near_is_told_the_next_first() -> None:
    found = expiries.near([_ending(WARNED_S + 1), _ending(5.0), _ending(-7.0), _ending(WARNED_S - 1)], now=0.0)
    assert [one.ends_at for one in found] == [-7.0, 5.0, WARNED_S - 1]


def _status(fleet: RunningFleet) -> FleetStatus:
    with FleetClient(fleet.profile("viewer")) as client:
        return client.status()


def test_a_young_fleet_is_warned_of_nothing(fleet: RunningFleet) -> None:
    assert _status(fleet).ending == ()
    assert "edgemm_fleet_ending_soon 0.0" in fleet.request("GET", "/metrics").data.decode()


def test_tokens_of_people_are_told_thirty_days_before(fleet: RunningFleet) -> None:
    fleet.clock.ahead_s = YEAR_S - 29 * DAY_S
    found = _status(fleet).ending
    assert {one.kind for one in found} == {"token"}
    assert len(found) == len(Role)
    assert any("people add admin-person --role admin" in one.advice for one in found)
    shown = fleet.request("GET", "/metrics").data.decode()
    assert f"edgemm_fleet_ending_soon {len(Role)}.0" in shown
    assert 'edgemm_fleet_ends_timestamp_seconds{kind="signature",name="root"}' in shown


def test_signatures_are_told_thirty_days_before(fleet: RunningFleet) -> None:
    deadlines = fleet.state.expiries
    found = {one.name: one for one in deadlines.near(now=fleet.clock() + 3640 * DAY_S)}
    assert {"root", "targets", "admin"} <= found.keys()
    assert "edgemm fleet keys renew root" in found["root"].advice
    assert "--folder FOLDER" in found["admin"].advice


def test_the_running_manager_logs_it(fleet: RunningFleet, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Upkeep(fleet.state.repository, fleet.state.expiries, [], ManagerClock()).warn(fleet.clock() + 3640 * DAY_S)
    assert "ends_soon what='signature' which='root'" in caplog.text


def test_a_watched_file_is_acted_on_once_for_each_change(fleet: RunningFleet) -> None:
    path, acted = fleet.folder.root / "watched", list[int]()
    one = Watched([path], lambda: acted.append(1))
    one.check()
    one.check()
    path.write_text("a")
    one.check()
    one.check()
    assert len(acted) == 2


def test_what_another_process_changed_is_taken_up(fleet: RunningFleet) -> None:
    command = VersionRepository(fleet.folder)
    now = datetime.now(UTC)
    made = sign_here(command, propose(command, {"timestamp": Replacement()}, now=now), keys=())
    command.apply(made, now=now)
    stopping = threading.Event()
    stopping.set()
    Upkeep(fleet.state.repository, fleet.state.expiries, [], ManagerClock()).step(stopping)
    assert fleet.state.repository.root.signed.version == 2
