"""The database of a fleet folder as a manager opens it: SQLite's file in it, or PostgreSQL's elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edgemm.canonical import sha256
from edgemm.errors import InputError
from edgemm.trust import signing
from edgemm_fleet.store import Migration, Store, devices, notes
from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress
from edgemm_fleet.store.transfer import has_no_tables, move_fleet
from edgemm_fleet.trust.fleet_folder import FleetFolder

_log = logging.getLogger(__name__)


def open_database(
    folder: FleetFolder, given: DatabaseAddress | None, *, migrated: Callable[[Migration], None] | None
) -> Store:
    """Open the fleet's database as its only manager, and note in the folder where it is.

    Every fleet is founded in SQLite. One that nobody joined yet goes along to an empty database that was given.

    Raises:
        InputError: another fleet is in it, or it is empty, and the fleet in the folder has devices: that is a move to
            ask for.
        EnvironmentFailure: it is not there, is full, cannot be written, or another manager uses it.
        NewerFormatError: a later edgemm wrote it.
    """
    address = given or folder.database_address()
    expect_own(folder, address)
    if isinstance(address, PostgresAddress) and has_no_tables(address):
        _bring_founding(folder, address)
    store = Store.open(address, migrated=migrated, alone=True)
    try:
        _claim(folder, store)
        folder.note_database(address)
    except BaseException:
        store.close()
        raise
    return store


def expect_own(folder: FleetFolder, address: DatabaseAddress) -> None:
    """Refuse a database in which another fleet is: its devices would be signed for, and judged, by this one.

    An earlier edgemm did not note whose it is: where such a database is new to the folder, its director's key tells.

    Raises:
        InputError: another fleet is in it.
    """
    noted = notes.look(address, notes.FLEET, notes.DIRECTOR_KEY)
    own: str | None
    if notes.FLEET in noted:
        found, own = noted[notes.FLEET], _identity(folder)
    elif notes.DIRECTOR_KEY in noted and address != folder.database_address():
        found, own = noted[notes.DIRECTOR_KEY], signing.load_key(folder.online_key("director")).public_key.keyid
    else:
        return
    if own not in {None, found}:
        raise InputError(
            f"{address}: expected the fleet of {folder.root}, or an empty database, found another fleet; nothing was "
            "changed: give each fleet a database of its own"
        )


def _claim(folder: FleetFolder, store: Store) -> None:
    own = _identity(folder)
    with store.read() as tx:
        known = own is None or notes.get(tx, notes.FLEET) == own
    if own is not None and not known:
        with store.write() as tx:
            notes.put(tx, notes.FLEET, own)


def _identity(folder: FleetFolder) -> str | None:
    return sha256(folder.first_root.read_bytes()) if folder.first_root.exists() else None


def _bring_founding(folder: FleetFolder, address: PostgresAddress) -> None:
    where = folder.database_address()
    store = Store.open(where)
    try:
        with store.read() as tx:
            joined = sum(devices.counts(tx).values())
    finally:
        store.close()
    if joined:
        raise InputError(
            f"{address}: found no fleet in it, and one with {joined} devices in {where}; move it there first: "
            f"edgemm fleet db copy --folder {folder.root} --to {address}"
        )
    move_fleet(where, address, told=lambda *_: None)
    folder.note_database(address)  # at once: from here on the fleet is nowhere else
    _log.info("database moved from=%s to=%s", where, address)
