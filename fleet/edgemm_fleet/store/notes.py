"""The store's notes: single values by name, in the table `meta`; the manager's time is one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, select

from edgemm.messages.generations import ACCEPTED_AHEAD_S
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from edgemm_fleet.store.dialects.either_dialect import described, looking
from edgemm_fleet.store.schema import meta as table

DIRECTOR_KEY = "director_key"
"""The id of the director's key by which every device was told last."""
FLEET = "fleet"
"""The SHA-256 of the first root metadata of the fleet that is in the database."""

_LAST_NOW = "last_now"


def look(address: DatabaseAddress, *names: str) -> dict[str, str]:
    """Return those of the values that a database has which is not opened: it is neither made nor migrated.

    Raises:
        EnvironmentFailure: it cannot be read.
    """
    if isinstance(address, Path) and not address.exists():
        return {}
    with described(address), looking(address) as connection:
        if not {"key", "value"} <= {column["name"] for column in _columns(connection)}:
            return {}
        found = connection.execute(select(table.c.key, table.c.value).where(table.c.key.in_(names)))
        return {row.key: row.value for row in found}


def get(tx: Transaction, name: str) -> str | None:
    """Return a noted value, None where nothing was noted."""
    found = tx.execute(select(table.c.value).where(table.c.key == name)).scalar()
    return None if found is None else str(found)


def put(tx: Transaction, name: str, value: str) -> None:
    """Note a value, in place of what was noted before."""
    portable.put(tx, table, [{"key": name, "value": value}])


def latest_time(tx: Transaction, *, now: float) -> float:
    """Return the clock, or the latest time that was kept where the clock was put back since.

    A generation is made by it: a later one does not fall behind. One that is decades ahead was never a time: what is
    made of it would be taken by no device.
    """
    kept = get(tx, _LAST_NOW)
    last = float(kept) if kept is not None else now
    return max(now, last) if last <= now + ACCEPTED_AHEAD_S else now


def keep_time(tx: Transaction, time_s: float) -> None:
    """Keep the time by which a generation was made."""
    put(tx, _LAST_NOW, repr(time_s))


def _columns(connection: Connection) -> list[Any]:
    found = inspect(connection)
    return list(found.get_columns(table.name)) if found.has_table(table.name) else []
