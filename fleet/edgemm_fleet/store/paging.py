"""Paging of lists by key: `after` is the last key seen, so that every page costs the same.

What `read` returns None for is passed over; a page may then have fewer items than asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select

from edgemm_fleet.records.records import Item, Page
from edgemm_fleet.store.database import Transaction

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_LARGEST_KEY = 2**63 - 1
"""The largest number that the database can hold."""


def ascending(
    tx: Transaction,
    query: Select[Any],
    *,
    key: ColumnElement[str],
    after: str | None,
    limit: int,
    read: Callable[[Any], Item | None],
) -> Page[Item]:
    """Return one page in rising order of a text key."""
    if after is not None:
        query = query.where(key > after)
    wanted = clamp(limit)
    rows = tx.execute(query.order_by(key).limit(wanted + 1)).all()
    return page_of(rows, wanted, key=key.key or "id", read=read)


def newest_first(
    tx: Transaction,
    query: Select[Any],
    *,
    key: ColumnElement[int],
    after: str | None,
    limit: int,
    read: Callable[[Any], Item | None],
) -> Page[Item]:
    """Return one page in falling order of a number that grows with each row."""
    if after is not None:
        query = query.where(key < number(after))
    wanted = clamp(limit)
    rows = tx.execute(query.order_by(key.desc()).limit(wanted + 1)).all()
    return page_of(rows, wanted, key=key.key or "id", read=read)


def number(after: str) -> int:
    """Return the key that a page in falling order is to go on below."""
    return min(int(after), _LARGEST_KEY) if after.isdecimal() else 0


def clamp(limit: int) -> int:
    """Return how many items a page has where `limit` were asked for."""
    return max(1, min(limit, MAX_LIMIT))


def page_of(rows: Sequence[Any], limit: int, *, key: str, read: Callable[[Any], Item | None]) -> Page[Item]:
    """Return a page of the first rows; that there are more of them than `limit` tells that there is a next one."""
    items = tuple(item for row in rows[:limit] if (item := read(row)) is not None)
    more = len(rows) > limit
    return Page(items=items, next=str(rows[limit - 1]._mapping[key]) if more else None)  # noqa: SLF001 - public by its documentation
