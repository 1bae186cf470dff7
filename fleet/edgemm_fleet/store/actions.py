"""The store's table of one-off actions, of a kind of `ActionKind` each, and their results.

Of each device the latest 256 with a result are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import convert
from sqlalchemy import BigInteger, ColumnElement, delete, func, insert, literal_column, select, update

from edgemm.messages import ORDERED_KINDS, Action, ActionResult
from edgemm_fleet.records.records import ActionRecord, Page
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects.portable import ROWID, listed
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import actions as table

_KEPT = 256
_ORDER: ColumnElement[int] = literal_column(ROWID, BigInteger).label("place")
"""The order in which actions were asked for."""


def add(tx: Transaction, device: str, action: Action, *, now: float) -> None:
    """Want something done once on a device; of what was done, the oldest is forgotten."""
    done = (table.c.device == device) & table.c.done_at.is_not(None)
    old = select(table.c.id).where(done).order_by(_ORDER.desc()).offset(_KEPT - 1)
    tx.execute(delete(table).where(table.c.id.in_(old)))
    values = {"id": action.id, "device": device, "kind": action.kind, "model": action.model, "created_at": now}
    tx.execute(insert(table).values(**values))


def waiting(tx: Transaction, devices: Sequence[str]) -> dict[str, list[ActionRecord]]:
    """Return device → its actions without a result, oldest first; devices without any are missing."""
    query = select(table).where(listed(table.c.device, devices), table.c.done_at.is_(None))
    read = _reader(tx)
    found: dict[str, list[ActionRecord]] = {}
    for row in tx.execute(query.order_by(table.c.created_at, table.c.id)):
        if (record := read(row)) is not None:
            found.setdefault(row.device, []).append(record)
    return found


def ordered(tx: Transaction, devices: Sequence[str]) -> dict[str, list[ActionRecord]]:
    """Return device → its actions without a result that travel in messages of their own (`ORDERED_KINDS`)."""
    found = waiting(tx, devices)
    kept = {device: [one for one in items if one.action.kind in ORDERED_KINDS] for device, items in found.items()}
    return {device: items for device, items in kept.items() if items}


def find(tx: Transaction, action: str) -> ActionRecord | None:
    """Return an action, or None."""
    row = tx.execute(select(table).where(table.c.id == action)).one_or_none()
    return None if row is None else _reader(tx)(row)


def count_waiting(tx: Transaction, device: str) -> int:
    """Return how many actions of a device have no result yet."""
    query = select(func.count()).where(table.c.device == device, table.c.done_at.is_(None))
    return int(tx.execute(query).scalar_one())


def page(
    tx: Transaction, device: str, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT
) -> Page[ActionRecord]:
    """List a device's actions, newest first."""
    query = select(table, _ORDER).where(table.c.device == device)
    return paging.newest_first(tx, query, key=_ORDER, after=after, limit=limit, read=_reader(tx))


def recent(tx: Transaction, device: str, *, limit: int) -> list[ActionRecord]:
    """Return a device's latest actions, newest first."""
    query = select(table).where(table.c.device == device).order_by(table.c.created_at.desc(), table.c.id)
    read = _reader(tx)
    return [found for row in tx.execute(query.limit(limit)) if (found := read(row)) is not None]


def finish(tx: Transaction, device: str, result: ActionResult, *, now: float) -> bool:
    """Note a result; False if it was known already."""
    mine = (table.c.id == result.id) & (table.c.device == device) & table.c.done_at.is_(None)
    done = tx.execute(update(table).where(mine).values(done_at=now, ok=result.ok, detail=result.detail))
    return bool(done.rowcount)


def end_waiting(tx: Transaction, device: str, *, detail: str, now: float) -> None:
    """End the actions of a device that will report none of them, as not done."""
    mine = (table.c.device == device) & table.c.done_at.is_(None)
    tx.execute(update(table).where(mine).values(done_at=now, ok=False, detail=detail))


def _reader(tx: Transaction) -> Callable[[Any], ActionRecord | None]:
    return quarantine(tx).reader("actions", _read, device=lambda row: str(row.device), lasting=True)


def _read(row: Any) -> ActionRecord:
    values = {name: getattr(row, name) for name in ("device", "created_at", "done_at", "ok", "detail")}
    return convert(values | {"action": {"id": row.id, "kind": row.kind, "model": row.model}}, ActionRecord)
