"""A fleet that is served over PostgreSQL by the command line, and its database that goes away in a rollout."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import urllib3

from edgemm.errors import EnvironmentFailure, InputError
from edgemm_fleet.server import database_of_folder
from edgemm_fleet.store import Store
from edgemm_fleet.trust.fleet_folder import FleetFolder
from simulators.postgresql import Cluster
from simulators.waiting import eventually
from tests.conftest import installed_postgresql
from tests.unit.core.bundles import small_bundle
from tests.unit.fleet.commands.fleets import Served, init
from tests.unit.fleet.server.test_process import Join, join, logged_in

pytestmark = [pytest.mark.slow, pytest.mark.service]
__all__ = ["join", "logged_in"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    installed_postgresql()
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def served(cluster: Cluster, tmp_path: Path) -> Iterator[Served]:
    """A fleet whose first start brings it to an empty database."""
    fleet = init(tmp_path / "fleet", scheme="http")
    fleet.start("--db", str(cluster.create("fleet")))
    yield fleet
    if fleet.process is not None:
        fleet.stop(signal.SIGKILL)


def health(fleet: Served) -> int:
    return urllib3.request("GET", f"{fleet.url}/api/v1/health", timeout=20, retries=False).status


def publish(fleet: Served, folder: Path, *versions: str) -> None:
    for version in versions:
        path = folder / f"digits-{version}.edgemm"
        small_bundle(path, version=version)
        fleet.admin.run("publish", str(path))


def test_a_database_that_goes_in_a_rollout_and_comes_back_ends_nothing(
    logged_in: Served, join: Join, cluster: Cluster, tmp_path: Path
) -> None:
    fleet = logged_in
    publish(fleet, tmp_path, "1.0.0")
    devices = [join(name) for name in ("gate", "barn", "mast")]
    devices[1].silent = devices[2].silent = True
    create = (
        "rollout",
        "create",
        "digits",
        "1.0.0",
        "--group",
        "1",
        "--group",
        "100%",
        "--deadline",
        "5min",
        "--start",
    )
    rollout = fleet.admin.json(*create)["rollout"]["id"]
    cluster.stop("immediate")
    eventually(lambda: health(fleet) == 503, "health tells that the database is gone")
    told = fleet.admin.attempt("devices").stderr
    assert "fleet database postgresql://" in told
    assert len(told.splitlines()) <= 2
    cluster.start()
    eventually(lambda: health(fleet) == 200, "it goes on by itself")
    for device in devices:
        device.silent = False

    def finished() -> bool:
        return bool(fleet.admin.json("rollout", "status", rollout)["rollout"]["state"] == "finished")

    eventually(finished, "the rollout is finished")
    assert fleet.stop(signal.SIGTERM) == 0
    log = "\n".join(fleet.said)
    assert log.count("database_fails kind=write") <= 1
    assert log.count("database_fails kind=read") <= 1
    assert log.count("database_back") >= 1
    assert "Traceback" not in log, log


def test_the_folder_says_where_its_database_is(logged_in: Served, cluster: Cluster, tmp_path: Path) -> None:
    fleet = logged_in
    publish(fleet, tmp_path, "1.0.0")
    made = fleet.admin.json("people", "add", "ann", "--role", "viewer", "--folder", str(fleet.folder))
    assert made["record"]["person"] == "ann"
    people = [one["person"] for one in fleet.admin.json("people", "list")]
    assert sorted(people) == ["admin", "ann"], "the command wrote where the manager reads"
    refused = fleet.admin.run("db", "copy", "--folder", str(fleet.folder), "--to", "sqlite", status=1)
    assert "another `edgemm fleet serve` uses this folder; stop it first" in refused
    assert fleet.stop(signal.SIGTERM) == 0
    fleet.start()
    assert "digits" in fleet.admin.run("models")
    assert fleet.stop(signal.SIGTERM) == 0
    occupied = fleet.admin.run("db", "copy", "--folder", str(fleet.folder), "--to", "sqlite", status=2)
    assert "found a fleet that moved away from it; nothing was changed: put that file elsewhere" in occupied
    (fleet.folder / "fleet.db").rename(fleet.folder / "old.db")
    moved = fleet.admin.json("db", "copy", "--folder", str(fleet.folder), "--to", "sqlite")
    assert moved["rows"]["versions"] == 1
    fleet.start()
    assert "digits" in fleet.admin.run("models")
    assert fleet.stop(signal.SIGTERM) == 0
    second = cluster.create("second")
    refused = "\n".join(fleet_start_fails(fleet, "--db", str(second)))
    assert f"edgemm fleet db copy --folder {fleet.folder}" not in refused, "no device joined: it goes along"


def fleet_start_fails(fleet: Served, *options: str) -> list[str]:
    fleet.start(*options)
    said = fleet.said
    fleet.stop(signal.SIGTERM)
    return said


def test_a_fleet_with_devices_moves_when_it_is_told_to(
    logged_in: Served, join: Join, cluster: Cluster, tmp_path: Path
) -> None:
    fleet = logged_in
    join("gate")
    fleet.stop(signal.SIGTERM)
    other = cluster.create("other")
    command = ("serve", str(fleet.folder), "--broker", "embedded:0", "--db", str(other))
    told = fleet.admin.run(*command, status=2)
    assert f"found no fleet in it, and one with 1 devices in {cluster.address('fleet')}" in told
    fleet.admin.run("db", "copy", "--folder", str(fleet.folder), "--to", str(other))
    before = ("serve", str(fleet.folder), "--broker", "embedded:0", "--db", str(cluster.address("fleet")))
    assert f"its fleet moved to {other}" in fleet.admin.run(*before, status=2)
    fleet.start()
    assert len(fleet.admin.json("devices")) == 1


def test_the_database_of_another_fleet_is_refused(logged_in: Served, cluster: Cluster, tmp_path: Path) -> None:
    """Its devices would be signed for with keys that they do not know, and judged as silent."""
    assert logged_in.stop(signal.SIGTERM) == 0
    taken = str(cluster.address("fleet"))
    other = init(tmp_path / "elsewhere" / "fleet", scheme="http")
    command = ("serve", str(other.folder), "--broker", "embedded:0", "--db", taken)
    told = f"{taken}: expected the fleet of {other.folder}, or an empty database, found another fleet"
    assert told in other.admin.run(*command, status=2)
    assert not (other.folder / "database.json").exists()
    copy = ("db", "copy", "--folder", str(other.folder), "--from", taken, "--to", str(cluster.create("third")))
    assert told in other.admin.run(*copy, status=2)
    logged_in.start()


def test_a_start_that_ends_behind_the_first_move_knows_where_the_fleet_is(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server of the database goes away in that moment."""
    folder, address = FleetFolder(init(tmp_path / "fleet", scheme="http").folder), cluster.create("founded")
    with monkeypatch.context() as patch, pytest.raises(EnvironmentFailure):
        patch.setattr(database_of_folder, "_claim", lambda *_: fail())
        database_of_folder.open_database(folder, address, migrated=None)
    assert folder.database_address() == address
    database_of_folder.open_database(folder, None, migrated=None).close()
    with pytest.raises(InputError, match=f"goes on there: edgemm fleet serve FOLDER --db {address};"):
        Store.open(folder.database)


def fail() -> NoReturn:
    raise EnvironmentFailure("gone")


def test_a_move_that_is_done_is_done_when_it_is_asked_for_again(logged_in: Served, cluster: Cluster) -> None:
    """As a script does whose first try was killed after the last step."""
    assert logged_in.stop(signal.SIGTERM) == 0
    command = ("db", "copy", "--folder", str(logged_in.folder), "--to", str(cluster.create("again")))
    assert "moved" in logged_in.admin.run(*command)
    assert "the fleet is in postgresql://" in logged_in.admin.run(*command)
    assert logged_in.admin.json(*command)["rows"] == {}


def test_a_password_in_the_address_is_refused(served: Served, cluster: Cluster) -> None:
    for url in (
        "postgresql://u:secret@h/d",
        "postgresql://u@h/d?password=secret",
        "postgresql://u@h/d?%70assword=secret",
        "postgresql://u@h/d?PASSWORD=secret",
        "postgresql://u@h/d?sslmode=disable&passwort=secret",
        "mysql://h/d",
        "postgresql://h",
    ):
        told = served.admin.run("serve", str(served.folder), "--db", url, status=2)
        assert "secret" not in told
        assert told.startswith("error: --db")
        assert len(told.splitlines()) == 1
