"""The store's table of wanted shadows: the version that is to run beside a model of a device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, select

from edgemm.messages import DesiredShadow
from edgemm_fleet.records import json_text
from edgemm_fleet.records.records import Page
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import devices as enrolled
from edgemm_fleet.store.schema import shadows as table


def of(tx: Transaction, devices: Sequence[str]) -> dict[str, dict[str, DesiredShadow]]:
    """Return device → model → the shadow that is wanted there; devices without any that can be read are missing."""
    found: dict[str, dict[str, DesiredShadow]] = {}
    for row in tx.execute(select(table).where(listed(table.c.device, devices))):
        if (shadow := _read(tx, row)) is not None:
            found.setdefault(row.device, {})[row.model] = shadow
    return found


def put(tx: Transaction, devices: Sequence[str], model: str, wanted: DesiredShadow) -> None:
    """Want a shadow beside a model of each device, in place of what was wanted there."""
    text = json_text.written(wanted)
    portable.put(tx, table, [{"device": device, "model": model, "shadow_json": text} for device in devices])


def drop(tx: Transaction, devices: Sequence[str], model: str) -> tuple[str, ...]:
    """Want no shadow beside a model of these devices; return those that had one."""
    mine = listed(table.c.device, devices) & (table.c.model == model)
    had = tuple(tx.execute(select(table.c.device).where(mine).order_by(table.c.device)).scalars())
    tx.execute(delete(table).where(mine))
    return had


def wanting(
    tx: Transaction, model: str, digests: Collection[str], after: str, limit: int
) -> tuple[list[str], str | None]:
    """Return enrolled devices on which a version is wanted as a shadow, by id; in parts as `assignments.told`."""
    live = select(enrolled.c.id).where(enrolled.c.removed_at.is_(None), enrolled.c.id == table.c.device).exists()
    query = select(table).where(table.c.model == model, table.c.device > after, live)
    rows = tx.execute(query.order_by(table.c.device).limit(limit)).all()
    found = [row.device for row in rows if (one := _read(tx, row)) is not None and one.digest in digests]
    return found, rows[-1].device if len(rows) == limit else None


def page(
    tx: Transaction, model: str, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT
) -> Page[tuple[str, DesiredShadow]]:
    """List (device, shadow) of a model by device, without devices that were removed."""
    joined = select(table).join(enrolled, enrolled.c.id == table.c.device)
    query = joined.where(table.c.model == model, enrolled.c.removed_at.is_(None))

    def read(row: Any) -> tuple[str, DesiredShadow] | None:
        shadow = _read(tx, row)
        return None if shadow is None else (row.device, shadow)

    return paging.ascending(tx, query, key=table.c.device, after=after, limit=limit, read=read)


def _read(tx: Transaction, row: Any) -> DesiredShadow | None:
    def shadow(row: Any) -> DesiredShadow:
        found: DesiredShadow = json_text.read(row.shadow_json, DesiredShadow)
        return found

    return quarantine(tx).reader(f"shadow of {row.model}", shadow, device=lambda row: str(row.device))(row)
