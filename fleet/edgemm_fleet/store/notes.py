"""The store's notes: single values by name, in the table `meta`."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import meta as table

DIRECTOR_KEY = "director_key"
"""The id of the director's key by which every device was told last."""


def get(tx: Transaction, name: str) -> str | None:
    """Return a noted value, None where nothing was noted."""
    found = tx.execute(select(table.c.value).where(table.c.key == name)).scalar()
    return None if found is None else str(found)


def put(tx: Transaction, name: str, value: str) -> None:
    """Note a value, in place of what was noted before."""
    query = insert(table).values(key=name, value=value)
    tx.execute(query.on_conflict_do_update(index_elements=["key"], set_={"value": value}))
