"""The founding of a fleet in one step: folder, keys, TLS certificate, version repository and database.

The folder is made beside its place and renamed into it, so that it is either whole or not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgemm import durable
from edgemm.canonical import sha256
from edgemm.errors import EnvironmentFailure, InputError
from edgemm.transport.address import FLEET, split_address
from edgemm_fleet.clock import check_clock
from edgemm_fleet.store.database import Store, Transaction
from edgemm_fleet.store.dialects.sqlite import is_full
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder
from edgemm_fleet.trust.keys import MOST_ROOT_KEYS, create_keys
from edgemm_fleet.trust.metadata_files import create_repository
from edgemm_fleet.whole_folder import made_whole

_SIZE_BYTES = 1024 * 1024
"""Room for a new folder, with what SQLite needs beside its file."""


@dataclass(frozen=True)
class Founded:
    """What `init` made; the fingerprint is None where the public URL is plain HTTP on loopback."""

    folder: FleetFolder
    config: FleetConfig
    tls_fingerprint: str | None
    root_digest: str


def found(
    path: Path,
    config: FleetConfig,
    *,
    now: float,
    furnish: Callable[[Transaction, str | None], None],
    root_keys: int = 1,
    root_threshold: int = 1,
) -> Founded:
    """Make a fleet folder at `path`, which is absent or empty.

    Of `root_keys` keys, `root_threshold` must sign who holds the others.

    `furnish` writes the first rows of the database; it is given the fingerprint that tokens carry.

    Raises:
        InputError: something is there already, the URL cannot be a fleet's, or the threshold cannot be reached.
        EnvironmentFailure: the disk is full or the place not writable.
    """
    host = check_public_url(config.public_url)
    check_clock(now)
    if not 1 <= root_threshold <= root_keys <= MOST_ROOT_KEYS:
        raise InputError(
            f"root keys: {root_threshold} of {root_keys} cannot be: expected at most {MOST_ROOT_KEYS} keys, and no "
            "more that must sign"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: expected an empty or absent folder, found something in it; choose another place")
    if not path.name:
        raise InputError(f"{path}: expected a folder by its name, which is put there whole; give it from the one above")
    try:
        with made_whole(path) as temporary:
            folder = FleetFolder(temporary)
            _fill(folder, config, host=host, now=now, roots=(root_keys, root_threshold))
            pin = fingerprint(folder.certificate) if config.public_url.startswith("https:") else None
            _create_database(folder, pin, furnish)
            folder.write_config(config)
    except (OSError, EnvironmentFailure) as err:
        if is_full(err, path):
            step = durable.make_room(path.absolute().parent, needed=_SIZE_BYTES)
            raise EnvironmentFailure(
                f"cannot make a fleet folder at {path}: the disk is full; nothing was left there: {step}"
            ) from err
        if isinstance(err, OSError):
            raise EnvironmentFailure(f"cannot make a fleet folder at {path}: {err.strerror or err}") from err
        raise
    final = FleetFolder(path)
    root_digest = sha256(final.first_root.read_bytes())
    return Founded(final, config, pin, root_digest)


def check_public_url(url: str, *, what: str = "public URL") -> str:
    """Return the host of a fleet's public URL; `what` names it in errors.

    Raises:
        InputError: it is not `https://HOST[:PORT]`, nor `http://` with a loopback host.
    """
    parts = split_address(url, FLEET, what=what)
    if parts.path.strip("/"):
        raise InputError(f"{what} {url!r}: expected https://HOST[:PORT] without a path")
    assert parts.hostname is not None
    return parts.hostname


def _fill(folder: FleetFolder, config: FleetConfig, *, host: str, now: float, roots: tuple[int, int]) -> None:
    moment = datetime.fromtimestamp(now, tz=UTC)
    for directory in (folder.blobs, folder.certificate.parent):
        directory.mkdir()
    signers = create_keys(folder, root_keys=roots[0])
    more = tuple(signers[f"root-{number}"] for number in range(2, roots[0] + 1))
    create_certificate(folder.certificate, folder.certificate_key, names=[host], now=moment)
    create_repository(
        folder, signers.__getitem__, fleet=config.name, now=moment, more_roots=more, root_threshold=roots[1]
    )


def _create_database(folder: FleetFolder, pin: str | None, furnish: Callable[[Transaction, str | None], None]) -> None:
    store = Store.open(folder.database)
    try:
        with store.write() as tx:
            furnish(tx, pin)
    finally:
        store.close()
    descriptor = os.open(folder.database, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
