"""The audit log: who did what to what, and when. Entries are only ever added."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, insert, select

from edgemm_fleet.records.records import AuditRecord, Page
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import audit as table


def add(tx: Transaction, *, at: float, actor: str, action: str, subject: str, detail: str = "") -> None:
    """Note one act, for example actor `person:ann`, action `rollout.halt`, subject `r-12ab`."""
    tx.execute(insert(table).values(at=at, actor=actor, action=action, subject=subject, detail=detail))


def page(tx: Transaction, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT) -> Page[AuditRecord]:
    """List the acts, newest first."""
    return paging.newest_first(tx, select(table), key=table.c.id, after=after, limit=limit, read=_read)


def last(tx: Transaction) -> int:
    """Return the number of the newest act, 0 where there is none."""
    return int(tx.execute(select(func.max(table.c.id))).scalar() or 0)


def since(tx: Transaction, number: int, *, actions: Collection[str]) -> list[AuditRecord]:
    """Return the acts of some kinds after the one of this number, in their order."""
    query = select(table).where(table.c.id > number, table.c.action.in_(actions)).order_by(table.c.id)
    return [_read(row) for row in tx.execute(query)]


def _read(row: Any) -> AuditRecord:
    return AuditRecord(**{name: getattr(row, name) for name in AuditRecord.__struct_fields__})
