"""Of the devices that messages came from, what it takes to hear them: a few columns, and each key is decoded once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import convert
from sqlalchemy import select

from edgemm_fleet.records import json_text
from edgemm_fleet.records.records import Presence
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import devices as table

_PRESENCE = Presence.__struct_fields__
_COLUMNS = (table.c.id, table.c.key_id, table.c.key_json, *(table.c[name] for name in _PRESENCE))
_FIRST = len(_COLUMNS) - len(_PRESENCE)
_MOST_KEYS = 10_000
"""That are kept decoded, of 200 bytes or so."""


class Author(NamedTuple):
    """A device that is enrolled and not removed; what of it cannot be read is empty, as in `Device`."""

    key_id: str
    key: dict[str, Any]
    presence: Presence


def authors_of(tx: Transaction, ids: Iterable[str]) -> dict[str, Author]:
    """Return those of these devices that are enrolled and not removed, by id."""
    unreadable = quarantine(tx)
    key = unreadable.reader("key", lambda row: _decoded(row.key_json), device=lambda row: str(row.id))
    presence = unreadable.reader("presence", _presence, device=lambda row: str(row.id))
    query = select(*_COLUMNS).where(portable.listed(table.c.id, sorted(set(ids))), table.c.removed_at.is_(None))
    return {row.id: Author(str(row.key_id), key(row) or {}, presence(row) or Presence()) for row in tx.execute(query)}


def _presence(row: Any) -> Presence:
    return convert(dict(zip(_PRESENCE, row[_FIRST:], strict=True)), Presence)


@lru_cache(maxsize=_MOST_KEYS)
def _decoded(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json_text.read(text, dict[str, Any])
    return found
