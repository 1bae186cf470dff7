"""Commands on a fleet's folder: they need no token, and a manager that runs is not in the way."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure, InputError
from edgemm_fleet.api import rights
from edgemm_fleet.commands.on_server import open_folder
from edgemm_fleet.secrets.wrong_tokens import WrongTokens
from edgemm_fleet.store import Store, audit
from edgemm_fleet.trust.fleet_folder import FleetFolder, FolderLock
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.commands.fleets import Person, Served, init
from tests.unit.fleet.store.golden_databases import golden


@pytest.fixture
def made(tmp_path: Path) -> Served:
    return init(tmp_path / "fleet", scheme="http")


def test_a_lost_administrator_is_made_on_the_server_while_the_manager_runs(made: Served) -> None:
    with FolderLock(FleetFolder(made.folder)):  # as a manager holds it
        created = made.admin.json("people", "add", "ann", "--role", "admin", "--folder", str(made.folder))
    store = Store.open(made.folder / "fleet.db")
    found = rights.authenticate(
        store, f"Bearer {created['token']}", now=time.time(), address="", wrong_tokens=WrongTokens()
    )
    with store.read() as tx:
        noted = audit.page(tx).items[0]
    store.close()
    assert (found.actor, found.is_admin) == ("person:ann", True)
    assert noted.actor.startswith("server:")
    assert created["url"] == made.url
    refused = made.admin.run("people", "add", "Ann!", "--role", "admin", "--folder", str(made.folder), status=2)
    assert "person 'Ann!'" in refused


@pytest.mark.sqlite
def test_a_database_of_an_earlier_edgemm_is_not_migrated_by_a_command(tmp_path: Path) -> None:
    path = golden(tmp_path, "0005")
    before = path.read_bytes()
    with pytest.raises(EnvironmentFailure, match="start the manager with this edgemm once"):
        Store.join(path)
    with pytest.raises(EnvironmentFailure, match="missing"):
        Store.join(tmp_path / "other.db")
    assert path.read_bytes() == before


def test_a_folder_of_another_user_is_left_alone(made: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    open_folder(made.folder)
    monkeypatch.setattr(os, "geteuid", lambda: made.folder.stat().st_uid + 1)
    with pytest.raises(InputError, match="run this as that user"):
        open_folder(made.folder)


def test_a_ceremony_with_the_root_key_on_another_machine(made: Served, tmp_path: Path) -> None:
    run, folder = made.admin.run, str(made.folder)
    away = tmp_path / "away"
    (made.folder / "offline-keys").rename(away)
    refused = run("keys", "rotate", "timestamp", "--folder", folder, status=1)
    assert "it lacks signatures: root: 1 more of the root keys so far" in refused
    assert "--propose FILE" in refused
    proposal = tmp_path / "proposal.json"
    assert "lacks root" in run("keys", "rotate", "timestamp", "--folder", folder, "--propose", str(proposal))
    assert "lacks" in run("keys", "inspect", str(proposal))
    wrong = run("keys", "sign", str(proposal), "--key", str(away / "targets.pem"), status=2)
    assert "not one of those that are to sign this" in wrong
    said = run("keys", "sign", str(proposal), "--key", str(away / "root.pem"))
    assert "timestamp: key" in said
    assert "lacks" not in said
    run("keys", "apply", str(proposal), "--folder", folder)
    assert VersionRepository(FleetFolder(made.folder)).root.signed.version == 2
    key = tmp_path / "new.pem"
    run("keys", "create", str(key))
    assert "keys are not overwritten" in run("keys", "create", str(key), status=2)
    assert key.stat().st_mode & 0o077 == 0
    both = ("--key", str(away / "root.pem"), "--key", str(key))
    run("keys", "rotate", "root", "--new-key", str(key.with_suffix(".pub.json")), "--folder", folder, *both)
    shown = made.admin.json("keys", "show", "root", "--folder", folder)
    assert shown["keys"][0]["where"] == "not here"


def test_several_root_keys_are_made_at_the_start(tmp_path: Path) -> None:
    person = Person(tmp_path / "admin")
    person.run("init", str(tmp_path / "fleet"), "--root-keys", "3")
    root = VersionRepository(FleetFolder(tmp_path / "fleet")).root.signed.roles["root"]
    assert (root.threshold, len(root.keyids)) == (2, 3)
    assert "2 of 1 cannot be" in person.run("init", str(tmp_path / "b"), "--root-threshold", "2", status=2)


def test_a_clock_behind_what_was_signed_last_signs_nothing(made: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = made.folder / "tuf" / "metadata"
    before = {path.name: path.read_bytes() for path in metadata.iterdir()}
    real = time.time
    open_folder(made.folder)
    monkeypatch.setattr(time, "time", lambda: real() - 86400)
    with pytest.raises(EnvironmentFailure) as refused:
        open_folder(made.folder)
    said = str(refused.value).replace(str(metadata / "timestamp.json"), "TIMESTAMP")
    assert re.sub(r"20\d\d-\S+Z", "TIME", said) == (
        "the clock of this machine shows TIME, expected a time after TIME, when TIMESTAMP was signed; set the clock "
        "(timedatectl set-ntp true), then try again; if it was ahead at that time: edgemm fleet serve signs anew as it "
        "starts"
    )
    assert {path.name: path.read_bytes() for path in metadata.iterdir()} == before
    monkeypatch.setattr(time, "time", lambda: real() - 60)
    open_folder(made.folder)
