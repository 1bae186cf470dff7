"""A fleet folder as commands on the server change it, beside a manager that may be running."""

from __future__ import annotations

import getpass
import os
import pwd
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from securesystemslib.signer import CryptoSigner

from edgemm import times
from edgemm.errors import EdgemmError, EnvironmentFailure, InputError
from edgemm.outlet import say
from edgemm.trust import signing
from edgemm_fleet.clock import SLACK_S, check_clock
from edgemm_fleet.store import Store, audit
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.metadata_files import MetadataFiles
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES

FOLDER = click.Path(path_type=Path, file_okay=False)
folder_option = click.option(
    "--folder",
    type=FOLDER,
    required=True,
    help="The fleet folder, on the server. A manager that runs on it follows within seconds.",
)


def open_folder(path: Path) -> FleetFolder:
    """Return a fleet folder that this user may change.

    Raises:
        InputError: it is none, or another user's: what were written there, the manager could not read.
        EnvironmentFailure: the clock cannot be right, or is behind what was signed here.
    """
    folder = FleetFolder(path.absolute())
    folder.read_config()
    check_clock(time.time())
    _check_signed(folder, now=time.time())
    owner = folder.root.stat().st_uid
    if owner != os.geteuid():
        name = str(owner)
        with suppress(KeyError):
            name = pwd.getpwuid(owner).pw_name
        raise InputError(f"{folder.root}: it belongs to user {name}; run this as that user: sudo -u {name} edgemm …")
    return folder


def _check_signed(folder: FleetFolder, *, now: float) -> None:
    """Refuse a clock that is behind the newest signature: what it signs may be over before it is read."""
    try:
        expires = MetadataFiles(folder).read_timestamp().signed.expires
    except InputError:
        return  # who reads it says so
    signed_at = (expires - DEFAULT_LIFETIMES.timestamp).timestamp()
    if signed_at > now + SLACK_S:
        raise EnvironmentFailure(
            f"the clock of this machine shows {times.to_text(now)}, expected a time after {times.to_text(signed_at)}, "
            f"when {folder.metadata / 'timestamp.json'} was signed; set the clock (timedatectl set-ntp true), then try "
            "again; if it was ahead at that time: edgemm fleet serve signs anew as it starts"
        )


def load_keys(paths: Iterable[Path]) -> list[CryptoSigner]:
    """Read the private keys that were given.

    Raises:
        InputError: one of the files holds none.
    """
    return [signing.load_key(path) for path in paths]


def moment_now() -> datetime:
    """Return the time as TUF metadata takes it."""
    return datetime.now(UTC)


def note(folder: FleetFolder, action: str, subject: str, detail: str) -> None:
    """Write a line into the audit log; where that cannot be done now, it is said, and what was done stays done."""
    try:
        store = Store.join(folder.database_address())
        try:
            with store.write() as tx:
                audit.add(
                    tx, at=time.time(), actor=f"server:{user()}", action=action, subject=subject, detail=detail[:1000]
                )
        finally:
            store.close()
    except EdgemmError as err:
        say(f"not in the audit log: {err}", err=True)


def user() -> str:
    """Return the name of the user who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
