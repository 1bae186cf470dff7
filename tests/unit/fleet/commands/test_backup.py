"""A backup of a fleet folder beside its running manager, and what is served from it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm_fleet.server import fleet_backup as backups
from edgemm_fleet.server.fleet_backup import back_up
from edgemm_fleet.store import Store
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder
from simulators.models import make_bundle
from tests.unit.fleet.commands.fleets import Served, init

Said = pytest.CaptureFixture[str]

pytestmark = pytest.mark.sqlite  # a database of PostgreSQL is backed up by its own tools


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> FleetFolder:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["fleet", "init", str(tmp_path / "fl"), "--public-url", "https://old.example:8443"]) == 0
    capsys.readouterr()
    return FleetFolder(tmp_path / "fl")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    fleet = init(tmp_path / "fleet")
    fleet.start()
    yield fleet
    if fleet.process is not None:
        fleet.stop(signal.SIGKILL)


def test_a_backup_of_a_running_fleet_is_a_fleet(served: Served, tmp_path: Path) -> None:
    served.admin.run("login", served.url, "--token", served.token, "--fingerprint", pin(served.folder))
    make_bundle(tmp_path / "tiny.edgemm", version="1.0.0")
    served.admin.run("publish", str(tmp_path / "tiny.edgemm"))
    token = served.admin.json("token", "create", "--uses", "7")["record"]["id"]
    assert (served.folder / "fleet.db-wal").stat().st_size > 0, "cp of fleet.db alone would lose what is in it"
    copy = tmp_path / "backups" / "monday"
    made = served.admin.json("backup", "--folder", str(served.folder), "--to", str(copy))
    assert (made["folder"], made["offline_keys"]) == (str(copy), True)
    assert not [path for path in copy.rglob("*") if path.name.startswith((".", "fleet.db-"))]
    assert blobs(copy) == blobs(served.folder) != set()
    assert modes(copy) == modes(served.folder)

    served.admin.run("token", "create", "--uses", "1")
    assert served.stop(signal.SIGTERM) == 0
    shutil.rmtree(served.folder)
    shutil.copytree(copy, served.folder)
    served.start()
    assert [one["id"] for one in served.admin.json("token", "list")] == [token]
    assert [one["model"]["name"] for one in served.admin.json("models", "list")] == ["tiny"]
    served.admin.run("keys", "rotate", "snapshot", "timestamp", "--folder", str(served.folder))


def pin(folder: Path) -> str:
    return fingerprint(folder / "tls" / "certificate.pem")


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").rglob("*") if path.is_file()}


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777
        for part in ("keys", "tls", "offline-keys")
        for path in (folder / part).rglob("*")
    }


def test_rows_that_are_written_meanwhile_are_all_there_or_not(folder: FleetFolder, tmp_path: Path) -> None:
    stop = threading.Event()
    store = Store.open(folder.database)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with store.write() as tx:
                for half in "ab":
                    tx.exec_driver_sql("INSERT INTO meta (key, value) VALUES (?, 'x')", (f"{half}-{number}",))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            back_up(folder, tmp_path / f"copy-{number}")
    finally:
        stop.set()
        writer.join(60)
        store.close()
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"copy-{number}" / "fleet.db")) as found:
            keys = {key for (key,) in found.execute("SELECT key FROM meta")}
            assert {key[2:] for key in keys if key.startswith("a-")} == {
                key[2:] for key in keys if key.startswith("b-")
            }
            assert found.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_certificate_that_is_switched_meanwhile_has_its_key(folder: FleetFolder, tmp_path: Path) -> None:
    """The copy of a folder is taken again where one of its files was replaced while it was read."""
    other = tmp_path / "other"
    assert run(["fleet", "init", str(other), "--public-url", "https://old.example:8443"]) == 0
    copied = backups._copy_folder
    done: list[bool] = []

    def switched(path: Path, to: Path) -> None:
        copied(path, to)
        if path.name == "tls" and not done:
            done.append(True)
            for name in ("key.pem", "certificate.pem"):
                os.replace(other / "tls" / name, path / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backups, "_copy_folder", switched)
        back_up(folder, tmp_path / "copy")
    for name in ("key.pem", "certificate.pem"):
        assert (tmp_path / "copy" / "tls" / name).read_bytes() == (folder.root / "tls" / name).read_bytes()


def test_blobs_of_the_same_disk_have_a_second_name_and_no_second_copy(folder: FleetFolder, tmp_path: Path) -> None:
    blob = folder.blobs / "ab" / "cdef"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"blob")
    back_up(folder, tmp_path / "copy")
    assert (tmp_path / "copy" / "blobs" / "ab" / "cdef").samefile(blob)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
        back_up(folder, tmp_path / "elsewhere")
    copy = tmp_path / "elsewhere" / "blobs" / "ab" / "cdef"
    assert (copy.read_bytes(), copy.samefile(blob)) == (b"blob", False)


def test_a_backup_that_cannot_be_is_one_line_and_leaves_nothing(
    folder: FleetFolder, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "there").mkdir()
    for to, status, said in (
        (tmp_path / "there", 2, "expected the name of a new folder, found something there"),
        (folder.root / "backup", 2, "it is in the fleet folder itself"),
    ):
        assert run(["fleet", "backup", "--folder", str(folder.root), "--to", str(to)]) == status
        assert said in capsys.readouterr().err
    folder.database.write_bytes(b"no database at all" * 1000)
    assert run(["fleet", "backup", "--folder", str(folder.root), "--to", str(tmp_path / "new")]) == 1
    assert "cannot back " in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"there", "fl", "config"}


def test_the_backup_is_in_the_audit_log(folder: FleetFolder, tmp_path: Path, capsys: Said) -> None:
    assert run(["fleet", "backup", "--folder", str(folder.root), "--to", str(tmp_path / "copy"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] > 0
    store = Store.join(folder.database)
    with store.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM audit WHERE action = 'fleet.backup'").scalar() == 1
    store.close()
