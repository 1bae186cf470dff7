"""The database of a fleet folder as a manager opens it: SQLite's file in it, or PostgreSQL's elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edgemm.errors import InputError
from edgemm_fleet.store import Migration, Store, devices
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
        InputError: the database given is empty, and the fleet in the folder has devices: that is a move to ask for.
        EnvironmentFailure: it is not there, is full, cannot be written, or another manager uses it.
        NewerFormatError: a later edgemm wrote it.
    """
    address = given or folder.database_address()
    if isinstance(address, PostgresAddress) and has_no_tables(address):
        _bring_founding(folder, address)
    store = Store.open(address, migrated=migrated, alone=True)
    folder.note_database(address)
    return store


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
    _log.info("database moved from=%s to=%s", where, address)
