"""Commands on the server whose disk is full: what, where, how much is lacking, what next; and nothing by half."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgemm.cli import run
from simulators.full_disk import FILLER, fill, make_room
from tests.disks import small_disk

Said = pytest.CaptureFixture[str]
MIB = 1024 * 1024

pytestmark = pytest.mark.sqlite  # PostgreSQL's disk is its server's


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", size_bytes=8 * MIB) as folder:
        yield folder


@contextmanager
def room(disk: Path, free: int) -> Iterator[None]:
    """Leave so many bytes free while the block runs."""
    fill(disk)
    with (disk / FILLER).open("ab") as file:
        file.truncate((disk / FILLER).stat().st_size - free)
    yield
    make_room(disk)


def init(folder: Path) -> int:
    return run(["fleet", "init", str(folder), "--public-url", "https://fleet.example:8443"])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {FILLER}


def lacking(said: str, place: Path) -> tuple[int, int]:
    """Return how many bytes one line says are needed, and how many are left."""
    assert said.count("\n") == 1, said
    found = re.search(rf"make room for ([\d,]+) bytes on the disk of {place}, which has ([\d,]+) left", said)
    assert found is not None, said
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


@pytest.mark.parametrize("free_kib", [0, 4, 8, 32, 100, 300, 420])
def test_a_backup(disk: Path, tmp_path: Path, free_kib: int, capsys: Said) -> None:
    fleet, to = tmp_path / "fleet", disk / "monday"
    assert init(fleet) == 0
    (fleet / "blobs" / "ab").mkdir()
    (fleet / "blobs" / "ab" / "cd").write_bytes(b"x" * 2 * MIB)
    command = ["fleet", "backup", "--folder", str(fleet), "--to", str(to)]
    capsys.readouterr()
    with room(disk, free_kib * 1024):
        assert run(command) == 1
        said = capsys.readouterr().err
        assert f"cannot back {fleet} up to {to}: the disk is full; nothing was left there" in said
        needed, left = lacking(said, disk)
        assert left == free_kib * 1024
        assert names(disk) == set()
    with room(disk, needed + 64 * 1024):
        assert run(command) == 0, "what was said to be needed is enough"


@pytest.mark.parametrize("free_kib", [0, 24, 60, 200])
def test_a_fleet_that_is_founded(disk: Path, free_kib: int, capsys: Said) -> None:
    with room(disk, free_kib * 1024):
        assert init(disk / "new") == 1
        said = capsys.readouterr().err
        assert f"cannot make a fleet folder at {disk}/new: the disk is full; nothing was left there" in said
        needed, _left = lacking(said, disk)
        assert names(disk) == set()
    with room(disk, needed):
        assert init(disk / "new") == 0


def test_a_row_of_the_database(disk: Path, capsys: Said) -> None:
    assert init(disk / "fleet") == 0
    capsys.readouterr()
    with room(disk, 0):
        assert run(["fleet", "people", "add", "bob", "--role", "viewer", "--folder", str(disk / "fleet")]) == 1
        said = capsys.readouterr().err
    full = "database or disk is full; nothing of this step was kept: make room on the disk of"
    assert f"{full} {disk}/fleet, which has 0 left, and try again" in said


@pytest.mark.parametrize("free_kib", range(0, 52, 4))
def test_a_change_of_keys_is_ended_by_the_next_command(disk: Path, free_kib: int, capsys: Said) -> None:
    fleet = disk / "fleet"
    assert init(fleet) == 0
    command = ["fleet", "keys", "rotate", "director", "snapshot", "--folder", str(fleet)]
    capsys.readouterr()
    with room(disk, free_kib * 1024):
        status = run(command)
        said = capsys.readouterr().err
    begun = (fleet / "trust-change.json").exists()
    if status:
        assert "No space left on device" in said
        assert "make room" in said
        assert ("is still to be made" in said) == begun, "what was begun is not said to be undone"
    else:
        assert not begun
    assert run(["fleet", "keys", "renew", "targets", "--folder", str(fleet)]) == 0
    assert not (fleet / "trust-change.json").exists()


def test_a_disk_that_takes_no_further_file(disk: Path, tmp_path: Path, capsys: Said) -> None:
    assert init(tmp_path / "fleet") == 0
    capsys.readouterr()
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(disk)], check=True)
    (disk / "last").touch()
    for command in (
        ["fleet", "backup", "--folder", str(tmp_path / "fleet"), "--to", str(disk / "new")],
        ["fleet", "init", str(disk / "new"), "--public-url", "https://fleet.example:8443"],
        ["fleet", "keys", "create", str(disk / "root.pem")],
    ):
        assert run(command) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "which has no place left for another file" in said
