"""The backup of a fleet folder while its manager runs: a fleet folder that may be served in its place.

    backed_up = back_up(folder, Path("/backup/fleet-monday"))

Each part is as it was at one moment, and no part lacks what an earlier one names:

1. the database, as it was last committed, with what is in its log; PostgreSQL's is backed up by `pg_dump`, before;
2. keys, version repository and all small files, while nobody may change them: a version that was published since the
   first step is entered by the next start;
3. blobs, which never change: by a second name where the backup is on the same disk, as copies elsewhere.

The whole has its name once it is on the disk. What a killed backup left is removed by the next one at that place.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgemm import durable
from edgemm.errors import EnvironmentFailure, InputError
from edgemm_fleet.store.dialects import sqlite
from edgemm_fleet.store.dialects.copies import copy_database
from edgemm_fleet.store.dialects.database_address import PostgresAddress
from edgemm_fleet.store.dialects.sqlite import is_full
from edgemm_fleet.trust.fleet_folder import LOCK, TRUST_LOCK, FleetFolder
from edgemm_fleet.whole_folder import made_whole

_LOOKS = 5
_BLOCK_BYTES = 4096


@dataclass(frozen=True)
class BackedUp:
    """What a backup holds."""

    folder: Path
    files: int
    size: int
    """Bytes, also of blobs that have a second name only."""
    offline_keys: bool
    """Whether root and targets keys are in it, since they were not taken offline yet."""


class _Count:
    """What was backed up so far."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self.files = self.size = 0
        self._told = told

    def add(self, path: Path) -> None:
        """Count a file that is there now."""
        self.files += 1
        self.size += path.stat().st_size
        self._told(self.size)


def back_up(folder: FleetFolder, to: Path, *, told: Callable[[int], None] = lambda _: None) -> BackedUp:
    """Copy a fleet folder to `to`, which is absent; `told` hears of the bytes so far.

    Raises:
        InputError: something is there already, it is within the fleet folder, or that is no fleet's.
        EnvironmentFailure: the disk is full, a folder cannot be written, or the database is damaged.
    """
    folder.read_config()
    to = to.absolute()
    if os.path.lexists(to):
        raise InputError(f"{to}: expected the name of a new folder, found something there; choose another")
    if to.resolve().is_relative_to(folder.root.resolve()):
        raise InputError(f"{to}: it is in the fleet folder itself; choose a place outside, best on another disk")
    count = _Count(told)
    try:
        with made_whole(to) as temporary:
            _fill(folder, FleetFolder(temporary), count)
    except (OSError, sqlite3.Error, EnvironmentFailure) as err:
        if not isinstance(err, EnvironmentFailure) or is_full(err, to):
            raise _failed(folder, to, err) from err
        raise
    return BackedUp(to, count.files, count.size, any((to / "offline-keys").glob("*.pem")))


def _failed(folder: FleetFolder, to: Path, err: Exception) -> EnvironmentFailure:
    cause, step = err.strerror if isinstance(err, OSError) and err.strerror else str(err), ""
    if is_full(err, to):
        needed = durable.make_room(to.parent, needed=_size_bytes(folder, to))
        cause, step = "the disk is full", f": {needed}, or choose another place"
    return EnvironmentFailure(f"cannot back {folder.root} up to {to}: {cause}; nothing was left there{step}")


def _size_bytes(folder: FleetFolder, to: Path) -> int:
    """Return how much room a backup takes: blobs have a second name where they are on the same disk."""
    blobs = [] if folder.blobs.stat().st_dev == to.parent.stat().st_dev else list(folder.blobs.rglob("*"))
    parts = [one for path in _parts(folder) for one in (path.rglob("*") if path.is_dir() else [path])]
    database = [] if isinstance(folder.database_address(), PostgresAddress) else [folder.database]
    size = 0
    for path in (*blobs, *parts, *database, *(sqlite.beside(one, "-wal") for one in database)):
        with suppress(FileNotFoundError):  # it was removed since
            size += -(-path.stat().st_size // _BLOCK_BYTES) * _BLOCK_BYTES
    return size


def _fill(folder: FleetFolder, to: FleetFolder, count: _Count) -> None:
    if not isinstance(folder.database_address(), PostgresAddress):
        copy_database(folder.database, to.database)
        count.add(to.database)
    with folder.trust_held():
        for path in _parts(folder):
            if path.is_dir():
                _copy_settled(path, to.root / path.name, count)
            else:
                _copy_file(path, to.root / path.name, count)
    _link_all(folder.blobs, to.blobs, count)
    if folder.certificate.exists():
        to.check_whole(tls=True)


def _parts(folder: FleetFolder) -> Iterator[Path]:
    """Yield what is in the folder beside database, blobs, locks, and copies of the database from before migrations."""
    for path in sorted(folder.root.iterdir()):
        own = path.name in {LOCK, TRUST_LOCK, folder.blobs.name} or path.name.startswith(durable.TEMPORARY_PREFIX)
        database = path.name.startswith(folder.database.name) or path.match(f"{folder.database.stem}-*.db")
        if not (own or database) and (path.is_file() or path.is_dir()):
            yield path


def _copy_settled(path: Path, to: Path, count: _Count) -> None:
    """Copy a folder of small files as it was at one moment: a switch of the certificate replaces two of them."""
    before = _stamps(path)
    for _ in range(_LOOKS):
        shutil.rmtree(to, ignore_errors=True)
        _copy_folder(path, to)
        if (now := _stamps(path)) == before:
            break
        before = now
    for found in to.rglob("*"):
        if found.is_file():
            count.add(found)


def _copy_folder(path: Path, to: Path) -> None:
    to.mkdir(mode=path.stat().st_mode & 0o777)
    for one in sorted(path.iterdir()):
        if one.is_dir():
            _copy_folder(one, to / one.name)
        elif not one.name.startswith(durable.TEMPORARY_PREFIX):
            with suppress(FileNotFoundError):  # it was replaced or deleted since: the next look sees it
                durable.write(to / one.name, one.read_bytes(), mode=one.stat().st_mode & 0o777)


def _copy_file(path: Path, to: Path, count: _Count) -> None:
    durable.write(to, path.read_bytes(), mode=path.stat().st_mode & 0o777)
    count.add(to)


def _stamps(path: Path) -> dict[Path, tuple[int, int]]:
    found = {}
    for one in path.rglob("*"):
        with suppress(FileNotFoundError):
            facts = one.stat()
            if one.is_file() and not one.name.startswith(durable.TEMPORARY_PREFIX):
                found[one] = facts.st_ino, facts.st_mtime_ns
    return found


def _link_all(path: Path, to: Path, count: _Count) -> None:
    to.mkdir(mode=path.stat().st_mode & 0o777)
    for one in sorted(path.iterdir()):
        if one.is_dir():
            _link_all(one, to / one.name, count)
        elif not one.name.startswith(durable.TEMPORARY_PREFIX):
            with suppress(FileNotFoundError):  # it was removed since
                _link(one, to / one.name)
                count.add(to / one.name)
    durable.sync_folder(to)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or a file system without second names
        with path.open("rb") as source, durable.replacing(to, mode=path.stat().st_mode & 0o777) as target:
            shutil.copyfileobj(source, target, 1 << 20)
